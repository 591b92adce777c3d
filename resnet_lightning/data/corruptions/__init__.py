"""Corrupted test images: noise, blur, weather and compression, each in five strengths."""

from .corruption import CORRUPTIONS, STRENGTHS, Corruption, names_for

__all__ = ["CORRUPTIONS", "STRENGTHS", "Corruption", "names_for"]
