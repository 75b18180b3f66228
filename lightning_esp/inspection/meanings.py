"""Meaning of each check of `verify_bundle`, for people who were not there when it was written."""

from __future__ import annotations

_MEANINGS = {
    "boundaries agree": "names, shapes, types and exponents of all tensors in the files are those of the manifest, and each "
    "cache and each seam between stages is the same on both ends",
    "tensors keep their bytes in ESP-DL's memory until they are read": "in the memory plan that ESP-DL makes, no operator "
    "overwrites what a later one still reads",
    "the header is what the manifest makes": "model_config.hpp, which the firmware is compiled with, differs in no line from "
    "the one that this version makes of the manifest",
    "the files give the golden windows, value for value": "the recorded windows, computed as the chip does, give every output "
    "and cache that was stored at the export",
    "raw readings give the network's integers, value for value": "the recorded readings, normalised and quantized as the firmware "
    "does, are what the recorded windows begin with",
    "files hold their own digest": "each .espdl file is the one that was written at the export, whatever the manifest says",
}


def explain(proof: str) -> str:
    """Return what a check means, by the name of its proof."""
    return _MEANINGS[proof]
