"""Options that several commands share, with the same words."""

from __future__ import annotations

from argparse import ArgumentParser

from .values import file_path


def add_feature_options(parser: ArgumentParser) -> None:
    """Where a dataset's features lie."""
    parser.add_argument(
        "--features", type=file_path, metavar="ROOT", help="folder that holds the features' folders"
    )
    parser.add_argument(
        "--video-features",
        type=file_path,
        action="append",
        metavar="DIR",
        help="a folder of video features; repeat it in the order training concatenated them",
    )
    parser.add_argument(
        "--audio-features",
        type=file_path,
        metavar="DIR",
        help="the folder of audio features, where it is not found under --features",
    )
    parser.add_argument(
        "--text-features",
        type=file_path,
        metavar="DIR",
        help="the folder of text features, where it is not found under --features",
    )


def add_device_option(parser: ArgumentParser) -> None:
    """Where the model runs; None where the caller says nothing, which means ``auto``."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), help="where the model runs (default: auto)"
    )


def add_cuda_options(parser: ArgumentParser) -> None:
    """How CUDA is used."""
    parser.add_argument(
        "--tf32",
        action="store_true",
        help="let CUDA round the inputs of matrix products to 10 bits: faster, gates move by up to 1e-3",
    )
    parser.add_argument(
        "--cuda-graphs",
        action="store_true",
        help="record the work of each shape of batch once and replay it: for few shapes and small batches",
    )
