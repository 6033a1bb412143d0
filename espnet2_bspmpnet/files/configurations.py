"""Training configurations, which may inherit from others.

A configuration may begin with ``base: FILE`` and say only what differs from that file.
"""

from pathlib import Path

from espnet2_bspmpnet.errors import UserError


def read_config(path: str | Path) -> dict:
    """Read a configuration with what it inherits by ``base:``.

    Tables are merged key by key, anything else is replaced.  Where an option such as
    ``optim`` changes, the base's ``optim_conf``, meant for another class, is dropped.

    Args:
        path: ESPnet configuration file (YAML); its ``base:``, if any, names another one
            relative to the file that says so, and may have a base itself.

    Raises:
        UserError: names the file that is missing, unreadable or its own base.
    """
    return _inherit(Path(path), ())


def dump_config(config: dict) -> str:
    """Write a configuration as the YAML that ESPnet reads."""
    from espnet2.utils.yaml_no_alias_safe_dump import yaml_no_alias_safe_dump

    return yaml_no_alias_safe_dump(config, indent=4, sort_keys=False)


def _inherit(path: Path, heirs: tuple[Path, ...]) -> dict:
    if path.resolve() in [heir.resolve() for heir in heirs]:
        circle = " -> ".join(map(str, (*heirs, path)))
        raise UserError(f"{heirs[-1]}: base: goes round in a circle: {circle}")
    if heirs and not path.exists():
        raise UserError(
            f"{heirs[-1]}: base: there is no {path}; a base is named relative to the"
            " file that says so"
        )
    own = _read(path)
    if "base" not in own:
        return own
    base = own.pop("base")
    if not isinstance(base, str):
        raise UserError(f"{path}: base: {base!r} is no file; name one configuration")
    return _merge(_inherit(path.parent / base, (*heirs, path)), own)


def _read(path: Path) -> dict:
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(
            f"{path}: no such configuration file; give one with --enh_config"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: empty, or not a table of options")
    return config


def _merge(base: dict, own: dict) -> dict:
    merged = {
        name: value
        for name, value in base.items()
        if not _is_of_another_choice(name, base, own)
    }
    for name, value in own.items():
        inherited = merged.get(name)
        if isinstance(inherited, dict) and isinstance(value, dict):
            value = _merge(inherited, value)
        merged[name] = value
    return merged


def _is_of_another_choice(name: str, base: dict, own: dict) -> bool:
    """Whether ``X_conf`` is meant for an X that is another one now."""
    choice = name.removesuffix("_conf")
    if choice == name or choice not in own:
        return False
    before, now = base.get(choice), own[choice]
    # The preprocessor bsp_mpnet takes all options of enh, too.
    return before != now and (choice, before, now) != (
        "preprocessor",
        "enh",
        "bsp_mpnet",
    )
