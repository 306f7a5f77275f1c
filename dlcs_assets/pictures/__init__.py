"""Reading pictures with other eyes than those that made them: headers, what a picture looks like, whether two are one.

TIFF is read with tifffile and imagecodecs, JPEG, PNG, GIF, WebP and AVIF with libvips, JPEG 2000 by its boxes and
imagecodecs: neither Appetiser nor an image server has the same reader for the same format, and what samples mean is
decided here.
"""

import logging
import os

# For numpy, which is loaded later: the threads of its BLAS would wait busily after each product of small matrices, and
# take 0.1 s of processor time for every image.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# What they say of foreign bytes is in the error, if it matters; in the log, it would be without the image's name.
for _library in ("tifffile", "pyvips"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)
