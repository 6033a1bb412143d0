"""ESPnet's own enh_scoring; ``bspmpnet score`` is faster and measures more."""

from espnet2.bin.enh_scoring import main

if __name__ == "__main__":
    main()
