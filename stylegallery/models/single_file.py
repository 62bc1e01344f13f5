"""Stable Diffusion as people trade it: one `.safetensors` file with the weights of all parts, in the key layout of the
original code.

What such a file does not say lies in `topologies/`, in diffusers' layout without weights: sizes of the networks and the
noise schedule of Stable Diffusion 1.x and XL (facts of the configs that their repositories publish). CLIP's vocabulary
comes with the package open_clip.
"""

import gzip
from functools import cache
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers import CLIPTokenizer

from stylegallery.errors import InputError

TOPOLOGIES = Path(__file__).parent / "topologies"
FIRST = "model.diffusion_model.input_blocks.0.0.weight"  # (channels, 4, 3, 3); 9 or more of inpainting and depth models
TEXT = "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"  # (channels, width of the text)
EMBEDDERS = "conditioner.embedders"  # SDXL's text encoders: 0.transformer and 1.model, of the refiner 0.model alone
REMEDY = "pass the model as a folder in diffusers layout instead"


def topology_of(file: Path) -> Path:
    """The folder in `topologies/` that describes a one-file checkpoint, by the names and shapes in its header.

    Raises:
        InputError: the file is damaged, no `.safetensors`, or holds something other than Stable Diffusion 1.x or XL.
    """
    if file.suffix != ".safetensors":  # in small letters: the libraries take any other for a pickle
        how = "rename" if file.suffix.lower() == ".safetensors" else "convert"
        raise InputError(f"{file} is no .safetensors file; {how} it to one, or {REMEDY}")
    try:
        with safe_open(file, framework="pt") as reader:
            keys = set(reader.keys())
            first, text = (reader.get_slice(key).get_shape() if key in keys else [] for key in (FIRST, TEXT))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is not whole ({error}); copy or download it again") from error
    if len(first) != 4:
        lora = ", or a LoRA as model.lora=" if any("lora" in key for key in keys) else ""
        raise InputError(
            f"{file} holds no Stable Diffusion model in one file (its first weight is {min(keys, default='missing')}); "
            f"pass such a file or a folder in diffusers layout{lora}"
        )
    unsupported = {
        "an inpainting or depth model": first[1] != 4,
        "Stable Diffusion 2, of which a file does not say what it predicts": text[-1:] == [1024],
        "a model that predicts v": "v_pred" in keys,
        "SDXL's refiner": any(key.startswith(f"{EMBEDDERS}.0.model.") for key in keys),
    }
    for what, holds in unsupported.items():
        if holds:
            raise InputError(f"{file} is {what}; {REMEDY}, if it is one of Stable Diffusion 1.x, 2.x or XL")
    return TOPOLOGIES / ("sdxl" if any(key.startswith(f"{EMBEDDERS}.1.") for key in keys) else "sd1")


@cache
def clip_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """The tokenizer of CLIP's text encoders, from its byte pairs; SDXL's second one pads with "!"."""
    from open_clip import tokenizer  # slow to import, and seldom needed

    with gzip.open(tokenizer.default_bpe(), "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().split("\n")[1 : 49152 - 256 - 2 + 1]]
    letters = list(tokenizer.bytes_to_unicode().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocabulary, merges, pad_token=pad_token, model_max_length=77)
