"""`python -m keras_hwcompress` is the `hwcmp` command."""

import sys

from keras_hwcompress.cli import main

if __name__ == "__main__":
    sys.exit(main())
