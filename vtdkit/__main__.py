"""`python -m vtdkit VERB`: see `vtdkit.cli`."""

from vtdkit.cli import main

raise SystemExit(main())
