"""ESPnet's enh_train with BSP-MPNet registered; bad input is one line."""

import sys

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.training.config import parse_training


def main(cmd=None) -> None:
    """Train, or collect statistics, as ``espnet2.bin.enh_train`` does.

    The file of --config may have a ``base:``, see files/configurations.py.
    """
    from espnet2.tasks.enh import EnhancementTask

    try:
        EnhancementTask.main(args=parse_training(cmd))
    except UserError as error:
        sys.exit(f"enh_train: error: {error}")


if __name__ == "__main__":
    main()
