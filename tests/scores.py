"""Scores of invented utterances, for tests of what is made of them."""

from espnet2_bspmpnet.scoring.scores import Row, Scores, Summary, statistics


def scores(
    system: str = "enhanced",
    reference: str = "clean",
    references: str = "tt",
    notes: tuple[str, ...] = (),
    **values: list[float | None],
) -> Scores:
    """Make scores of the utterances u1, u2, ...: metric=[value, ...], None if undefined."""
    count = len(next(iter(values.values())))
    rows = []
    for place in range(count):
        known = {name: column[place] for name, column in values.items()}
        reasons = {name: "silent" for name, value in known.items() if value is None}
        known = {name: value for name, value in known.items() if value is not None}
        rows.append(Row(f"u{place + 1}", known, reasons))
    metrics = statistics(rows, list(values))
    return Scores(
        rows, Summary(reference, system, references, count, list(notes), metrics)
    )
