"""ESPnet's enh_train with BSP-MPNet registered, and bad input told in one line."""

import sys

from espnet2_bspmpnet.errors import UserError


def main(cmd=None) -> None:
    """Train, or collect statistics, as ``espnet2.bin.enh_train`` does."""
    from espnet2.bin import enh_train

    try:
        enh_train.main(cmd)
    except UserError as error:
        sys.exit(f"enh_train: error: {error}")


if __name__ == "__main__":
    main()
