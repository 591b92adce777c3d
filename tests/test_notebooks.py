"""The notebooks run from top to bottom, and what they show is what the code computes today.

A cell with the tag ``exact`` has the same output on every machine. Where the code changes it, run the notebooks again
and keep what they show, without the times at which they ran:

    python tests/test_notebooks.py
"""

import re
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

# "/home/..." or "C:\...", but not "train/acc", "</td>", "https://..." or "~/...".
ABSOLUTE_PATH = re.compile(r"(?<![\w.<:/~*)\]}])/[A-Za-z_][\w.-]+(?:/|\b)|\b[A-Za-z]:\\\\?\w|file://")

# The numbers that a notebook prints, and the range in which what it says about them is true.
CLAIMS = {
    "01_residual_networks": {
        r"ReLU before the addition: ([\d.]+)%": (0, 0),
        r"ReLU after it: +at least ([\d.]+)%": (15, 50),
        r"plain, 20 layers: +training loss ([\d.]+)": (0.5, 1.4),
        r"plain, 56 layers: +training loss ([\d.]+)": (1.5, 2.5),
        r"residual, 20 layers: +training loss ([\d.]+)": (0, 0.4),
        r"residual, 56 layers: +training loss ([\d.]+)": (0, 0.4),
        r"plain: +the first block's gradient is ([\d.,]+) times": (100, 1e5),
        r"residual: +the first block's gradient is ([\d.,]+) times": (0, 20),
        r"test accuracy: ([\d.]+)": (0.95, 1),
    },
    "02_backbone": {
        r"test accuracy on the digits 0 to 4: ([\d.]+)": (0.95, 1),
        r"loss over the first 10 steps: ([\d.]+)": (2, 6),
        r"loss over the last 10 steps: +([\d.]+)": (0.3, 1.7),
        r"found: ([\d.]+)%": (80, 100),
        r"named as well: ([\d.]+)%": (75, 100),
        r"10 epochs, from scratch: +([\d.]+)%": (30, 75),
        r"10 epochs, two stages frozen: +([\d.]+)%": (60, 90),
        r"20 epochs, from scratch: +([\d.]+)%": (70, 93),
        r"20 epochs, two stages frozen: +([\d.]+)%": (75, 95),
        r"after 10 epochs the frozen stages are ahead by ([-\d.]+) points": (5, 35),
        r"after 20 epochs the frozen stages are ahead by ([-\d.]+) points": (-5, 10),
    },
}


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell) -> str:
    """All that a cell shows as text."""
    texts = []
    for output in cell.outputs:
        data = output.get("data", {})
        texts += [output.get("text", ""), *(data[kind] for kind in sorted(data) if kind.startswith("text/"))]
    return "".join(texts)


def broken_claims(name: str, notebook) -> dict[str, list[str]]:
    """The claims of a notebook that what it printed does not bear out, with what it printed."""
    text = "\n".join(shown(cell) for cell in code_cells(notebook))
    found = {pattern: re.findall(pattern, text) for pattern in CLAIMS.get(name, {})}

    def holds(pattern, numbers):
        low, high = CLAIMS[name][pattern]
        return len(numbers) == 1 and low <= float(numbers[0].replace(",", "")) <= high

    return {pattern: numbers for pattern, numbers in found.items() if not holds(pattern, numbers)}


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def committed(path):
    return nbformat.read(path, as_version=4)


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook after a run in ``folder``, under the interpreter that runs this and with nobody's settings."""
    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    # Without folders to look for kernels in, "python3" is ipykernel under sys.executable, whatever is installed.
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    assert kernel.kernel_spec.argv[0] == sys.executable
    client = NotebookClient(
        notebook,
        km=kernel,
        timeout=300,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    with tempfile.TemporaryDirectory() as settings, pytest.MonkeyPatch.context() as environment:
        environment.setenv("IPYTHONDIR", settings)
        environment.setenv("JUPYTER_RUNTIME_DIR", settings)
        environment.delenv("MPLBACKEND", raising=False)  # the kernel then draws into the notebook
        client.execute(cleanup_kc=True)  # raises where a cell does
    return notebook


@pytest.fixture(scope="module")
def executed(path, tmp_path_factory):
    folder = tmp_path_factory.mktemp(path.stem)
    notebook = execute(path, folder)
    assert not list(folder.iterdir()), "the notebook left files behind"
    return notebook


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= set(CLAIMS)


@pytest.mark.slow
def test_it_prints_no_warnings(executed):
    streams = [output for cell in code_cells(executed) for output in cell.outputs if output.output_type == "stream"]
    assert [output.text for output in streams if output.name == "stderr"] == []


@pytest.mark.slow
def test_exact_outputs_are_those_committed(committed, executed):
    compared = 0
    for before, after in zip(code_cells(committed), code_cells(executed), strict=True):
        if "exact" in before.metadata.get("tags", []):
            assert shown(after) == shown(before)
            compared += 1
    assert compared


@pytest.mark.slow
def test_it_draws_what_is_committed(committed, executed):
    def pictures(notebook):
        return [sum("image/png" in out.get("data", {}) for out in cell.outputs) for cell in code_cells(notebook)]

    assert pictures(executed) == pictures(committed)
    assert sum(pictures(executed)) > 0


@pytest.mark.slow
def test_what_it_says_of_its_numbers_is_true(path, executed):
    assert broken_claims(path.stem, executed) == {}


def test_what_it_says_of_its_committed_numbers_is_true(path, committed):
    assert broken_claims(path.stem, committed) == {}


def test_the_shape_table_has_the_published_sizes():
    """He et al. 2015, Table 1, and the sizes of the published nets to the parameter."""
    (path,) = [path for path in NOTEBOOKS if path.stem == "01_residual_networks"]
    (cell,) = [cell for cell in code_cells(nbformat.read(path, as_version=4)) if cell.id == "shape-table"]
    rows = [re.sub(r"[ `*]", "", line).strip("|").split("|") for line in shown(cell).splitlines()[-9:]]
    assert rows[2:6] == [
        ["layer1", "64x56x56", "3BasicBlock", "221,952", "256x56x56", "3Bottleneck", "215,808"],
        ["layer2", "128x28x28", "4BasicBlock", "1,116,416", "512x28x28", "4Bottleneck", "1,219,584"],
        ["layer3", "256x14x14", "6BasicBlock", "6,822,400", "1024x14x14", "6Bottleneck", "7,098,368"],
        ["layer4", "512x7x7", "3BasicBlock", "13,114,368", "2048x7x7", "3Bottleneck", "14,964,736"],
    ]
    assert [rows[-1][0], rows[-1][3], rows[-1][6]] == ["all", "21,797,672", "25,557,032"]


def test_it_was_committed_after_one_clean_run(path, committed):
    cells = code_cells(committed)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert not [cell.id for cell in cells if "execution" in cell.metadata], "it has the times at which cells ran"
    assert committed.metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 300_000


def test_it_holds_no_absolute_path(committed):
    texts = [cell.source for cell in committed.cells] + [shown(cell) for cell in code_cells(committed)]
    texts += [str(part.metadata) for part in (committed, *committed.cells)]
    assert [text for text in texts if ABSOLUTE_PATH.search(text)] == []


@pytest.mark.parametrize(
    "text", ["/tmp/x", "saved to '/home/me/runs'", "file:///x", r"C:\Users\me", "(/work)", "/root"]
)
def test_an_absolute_path_is_recognised(text):
    assert ABSOLUTE_PATH.search(text)


@pytest.mark.parametrize("text", ["train/acc", "</td>", "https://example.org/a/b", "5e-4 / 2", "a/b/c", "`configs/x`"])
def test_other_slashes_are_not_paths(text):
    assert not ABSOLUTE_PATH.search(text)


if __name__ == "__main__":
    for notebook_path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as empty_folder:
            nbformat.write(execute(notebook_path, Path(empty_folder)), notebook_path)
