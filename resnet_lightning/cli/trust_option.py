"""The option ``--trust`` of the subcommands that load a checkpoint."""

import argparse


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--trust``, whose value is a list of names."""
    parser.add_argument(
        "--trust",
        type=lambda names: [name for name in names.split(",") if name],
        default=[],
        metavar="PACKAGE[,...]",
        help="packages of which the checkpoint may name classes: their code is run",
    )
