"""ESPnet's enh_inference with BSP-MPNet registered: input checked, time taken, no clipping.

Beside each list of enhanced files it leaves utt2seconds: how long each took.
"""

import sys

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference.datadirs import enhance_lists
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE


def main(cmd=None) -> None:
    """Enhance, as ``espnet2.bin.enh_inference`` does; the default rate is 16 kHz."""
    from espnet2.bin.enh_inference import get_parser
    from espnet2.utils.types import str2bool

    parser = get_parser()
    parser.set_defaults(fs=SAMPLE_RATE)
    parser.add_argument(
        "--resume",
        type=str2bool,
        default=False,
        help="Leave out what this very command has enhanced before it was killed",
    )
    try:
        enhance_lists(parser.parse_args(cmd))
    except UserError as error:
        sys.exit(f"enh_inference: error: {error}")


if __name__ == "__main__":
    main()
