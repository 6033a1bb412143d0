"""`bspmpnet`: each subcommand parses its options and calls one function."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from espnet2_bspmpnet.commands import corpora, data, enhance, models, results
from espnet2_bspmpnet.errors import UserError


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str:
        if action.default is None or action.nargs == 0:
            return action.help
        return super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bspmpnet",
        description="Data preparation, scoring and reports of BSP-MPNet's recipes. "
        "Options may be written with _ or with -.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(function: Callable) -> Callable:
        command = commands.add_parser(
            function.__name__,
            help=function.__doc__,
            description=function.__doc__,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(function=function)
        return command.add_argument

    for module in (corpora, data, results, models, enhance):
        module.add_commands(add)
    return parser


def _with_underscores(argv: Sequence[str]) -> list[str]:
    words = list(argv)
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            words[place] = "--" + name[2:].replace("-", "_") + equals + value
        elif place == 0 and not word.startswith("-"):
            words[place] = word.replace("-", "_")
    return words


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, or the process's own.

    Returns:
        Exit status: 0, 1 if the input is bad, 130 after Ctrl-C.

    Raises:
        SystemExit: status 2 if the command line is wrong, 0 after --help.
    """
    argv = sys.argv[1:] if argv is None else argv
    options = _parser().parse_args(_with_underscores(argv))
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # else a line each request
    prefix = f"bspmpnet {options.command}:"
    try:
        options.function(options)
    except UserError as error:
        print(f"{prefix} error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        file = f"{error.filename}: " if error.filename else ""
        print(f"{prefix} error: {file}{error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prefix} interrupted; run it again to complete it", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
