"""Whether the branches alone are covered, since coverage's own `fail_under` counts them together with lines.

python -m tests.support.branches REPORT.json FLOOR
"""

import json
import sys
from pathlib import Path


def main(report: str, floor: str) -> int:
    """Print the share of branches (percent) that a JSON report of coverage names; return the exit code."""
    totals = json.loads(Path(report).read_text())["totals"]
    share = 100 * totals["covered_branches"] / totals["num_branches"]
    print(f"Branches: {share:.1f} % of {totals['num_branches']} (at least {floor} %)")
    return 0 if share >= float(floor) else 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
