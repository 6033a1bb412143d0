"""ESPnet's pack: a trained model and what belongs to it, in one archive."""

from espnet2.bin.pack import main

if __name__ == "__main__":
    main()
