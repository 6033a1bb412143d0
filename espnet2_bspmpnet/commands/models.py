"""Commands of stage 13 and --download_model: models that are shared."""

import argparse
from collections.abc import Callable

from espnet2_bspmpnet.commands.options import arguments, boolean


def upload_model(options: argparse.Namespace) -> None:
    """Upload a packed model and its card to the Hugging Face hub (stage 13)."""
    from espnet2_bspmpnet.sharing import hub, upload_folder

    values = arguments(options)
    dry_run, private = values.pop("dry_run"), values.pop("private")
    for path in upload_folder.prepare_upload(**values):
        print(f"  {path}")
    if dry_run:
        print(f"{options.folder}: this would be uploaded to {options.repo}")
    else:
        print(hub.upload(options.folder, options.repo, private))


def download_model(options: argparse.Namespace) -> None:
    """Bring a shared model into an experiment's folder; print the model file's name."""
    from espnet2_bspmpnet.sharing import hub

    print(hub.download_model(**arguments(options)).name)


def add_commands(add: Callable) -> None:
    """Add these commands to the command line by `add(function)`."""
    argument = add(upload_model)
    argument("--packed", required=True, help="packed model (stage 11)")
    argument(
        "--hf_repo",
        dest="repo",
        required=True,
        metavar="OWNER/NAME",
        help="place on the hub",
    )
    argument("--folder", required=True, help="to make: what is uploaded")
    argument("--recipe", required=True, help="that made the model: CORPUS/enh1")
    argument("--language", help="of the speech, such as en")
    argument("--license", default="cc-by-4.0", help="of the model, in the hub's words")
    argument("--private", type=boolean, default=False, help="true or false")
    argument("--dry_run", type=boolean, default=False, help="true: do not upload")

    argument = add(download_model)
    argument("tag", help="OWNER/NAME on the hub, an address, or a packed model's path")
    argument("--expdir", required=True, help="gets config.yaml and the model file")
