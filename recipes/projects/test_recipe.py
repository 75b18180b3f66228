"""The recipe trains an epoch on what lies in `data`, exports, and the bundle is what was verified: `python -m pytest`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent
(CONFIG,) = ROOT.glob("*.yaml")
# Options that make it short.
FEW: list[str] = []


def test_the_recipe_makes_a_bundle(tmp_path: Path) -> None:
    """Run the whole way once."""
    fit = [
        sys.executable,
        str(CONFIG.with_suffix(".py")),
        "fit",
        "--trainer.max_epochs",
        "1",
        "--trainer.logger",
        "false",
    ]
    # One epoch may lose some accuracy in integers, and chooses no thresholds; this asks whether it runs.
    options = ["--export.output_dir", str(tmp_path / "bundle"), "--export.quantization.precision", "int8"]
    quick = ["--export.quantization.tolerance", "1", "--export.quantization.min_snr_db", "-100"]
    detector = ["--export.deployment.detector.threshold", "0.5", "--trainer.default_root_dir", str(tmp_path)]
    subprocess.run([*fit, *options, *quick, *detector, *FEW], cwd=ROOT, check=True)
    subprocess.run([sys.executable, "-m", "lightning_esp", "verify", str(tmp_path / "bundle")], check=True)
