"""The loader of aam-onboard: it delivers what dbt prepared as Audience Manager's inbound files."""

import os

# numpy, which Arrow loads, would start threads for matrices; there are none here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
