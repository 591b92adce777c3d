"""``lightning push``: uploads a trained model with its card to the Hugging Face Hub."""

from pathlib import Path

from rich.markup import escape

from ..inference.hub import push
from .console import console
from .tool_parser import ToolParser
from .trust_option import add_trust_option


def command(arguments: list[str]) -> None:
    description = (
        "Uploads a trained model to a repository of the Hugging Face Hub: checkpoint, weights, config and card."
    )
    parser = ToolParser(prog="resnet-lightning push", description=description)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("repository", help="user/name; it is created if there is none")
    add_trust_option(parser)
    visibility = parser.add_mutually_exclusive_group()
    visibility.add_argument(
        "--private", dest="private", action="store_true", default=None, help="create a private repository"
    )
    visibility.add_argument("--public", dest="private", action="store_false", help="create a public repository")
    options = parser.parse_args(arguments)
    address, trained = push(options.checkpoint, options.repository, options.private, options.trust)
    name = options.repository.removeprefix("hf:")
    console().print(
        f"[dim]pushed[/]  {escape(trained.name)} to {escape(address)}\n"
        f'[dim]load  [/]  from_pretrained("hf:{escape(name)}"), or lightning pull {escape(name)}',
        highlight=False,
        soft_wrap=True,
    )
