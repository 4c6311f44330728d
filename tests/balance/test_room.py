import subprocess
import sys


def test_the_room_needs_torch_alone():
    heavy = ["sklearn", "scipy", "pandas", "datasets", "transformers", "lightning", "peft", "jsonargparse"]
    code = f"import sys, unskew.balance; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
