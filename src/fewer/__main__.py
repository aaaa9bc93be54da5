"""`python -m fewer`, and `torchrun -m fewer`: the same program as `fewer`."""

from __future__ import annotations

from fewer.cli import main

if __name__ == "__main__":
    main()
