"""What ``lightning`` alone prints: all commands, by what they are for."""

from rich.markup import escape
from rich.table import Table

from .console import console

GROUPS = {
    "start": {
        "new": "writes a small project with parts of your own",
        "configs": "lists, prints and copies the shipped configs",
        "models": "lists the networks, with sizes and costs",
        "data": "looks at a folder or table of images before a training",
    },
    "train": {
        "fit": "trains, tests and documents a run; --resume continues it",
        "sweep": "trains with all combinations of values, and names the best",
        "cross_validate": "trains on all folds",
        "study": "trains the networks of a published table beside its figures",
    },
    "look": {
        "runs": "lists the runs and their results",
        "report": "compares runs on one HTML page",
        "explain": "shows what in an image decides (Grad-CAM)",
        "features": "draws the filters, and the test images in two dimensions",
    },
    "evaluate": {
        "validate": "evaluates a checkpoint on the validation images",
        "test": "evaluates a checkpoint on the test images, also corrupted ones",
        "calibrate": "fits the temperature of a checkpoint's confidences",
    },
    "share": {
        "predict": "labels the images of a folder",
        "export": "writes a program (torch.export, ONNX) or weights (safetensors)",
        "push": "uploads a trained model to the Hugging Face Hub",
        "pull": "downloads a trained model from the Hugging Face Hub",
    },
    "measure": {
        "bench": "compares the speed with that of the alternatives",
    },
    "shell": {
        "completion": "prints a completion script for bash and zsh",
    },
}


def print_overview() -> None:
    """Prints all commands in their groups, and how to begin."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for group, commands in GROUPS.items():
        for place, (name, purpose) in enumerate(commands.items()):
            table.add_row("" if place else f"[dim]{group}[/]", f"[bold]{name}[/]", escape(purpose))
    out = console()
    out.print(table, highlight=False)
    out.print(
        "\nTo begin: [bold]lightning fit --config digits[/]   [dim]trains on handwritten digits, half a minute[/]"
    )
    out.print("[dim]`lightning COMMAND --help` lists the options of a command.[/]", highlight=False)
