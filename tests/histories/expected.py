"""`python tests/histories/expected.py NAME…` writes what a client is shown for a new history."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from api.views import whole
from streams.events import parse
from streams.fold import fold_all

for name in sys.argv[1:]:
    file = Path(__file__).with_name(f"{name}.jsonl")
    target = file.with_suffix(".json")
    if target.exists():
        sys.exit(f"{target} is there: a recorded history is never edited")
    lines = file.read_bytes().splitlines()
    state = fold_all(parse(line, sequence) for sequence, line in enumerate(lines, start=1))
    target.write_text(json.dumps(whole(state, {}), indent=1, ensure_ascii=False) + "\n")
