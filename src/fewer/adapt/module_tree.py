"""The module tree of a checkpoint's class, found without importing torch or transformers.

Importing them takes several seconds, and a plan needs no more than the names, kinds and shapes of a model's weights.
The source of the class, as transformers ships it, is run with stand-ins (`stand_ins`) for torch; the configuration
class is run in earnest. Nothing here knows a model family. The tree is believed only if its parameters are exactly the
tensors that the files hold, by name and by shape; in every other case the answer is None, and the model has to be made
by transformers itself. A test compares the two ways over the families that the tests know.
"""

from __future__ import annotations

import builtins
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from fewer.adapt.headers import Stored
from fewer.adapt.stand_ins import Anything, NotKnown, PreTrainedModel, Shape, torch_namespace

__all__ = ["module_tree"]

#: Modules of transformers that are run from source beside the folders of its models; of others anything is imported.
_RUN = (
    "transformers.configuration_utils", "transformers.generation.configuration_utils",
    "transformers.integrations.heterogeneity",
    "transformers.integrations.heterogeneity.configuration_utils", "transformers.modeling_layers",
    "transformers.modeling_rope_utils", "transformers.pytorch_utils", "transformers.utils.type_validators",
)  # fmt: skip
#: What stands before the name of a module that was run with stand-ins.
_OURS = "fewer.adapt.module_tree."
#: Types that a plain checkpoint holds; anything else is a matter for the full way.
_PLAIN = ("F64", "F32", "F16", "BF16")
#: Keys of a configuration that change how the model is made.
_TURNS = ("auto_map", "configuration_files", "quantization_config")


def module_tree(config: Mapping[str, Any], stored: Mapping[str, Stored]) -> tuple[Any, str] | None:
    """The model that a configuration describes, as stand-ins with torch's names and shapes, and what kind it is.

    Args:
        config: what `config.json` holds.
        stored: the tensors of its files.

    Returns:
        A module as `find_blocks` and `candidates_of` read it (they may raise `NotKnown`) and its kind as `kind_of`
        says it, or None where only making the model can tell.
    """
    if any(key in config for key in _TURNS) or any(tensor.code not in _PLAIN for tensor in stored.values()):
        return None
    layers = config.get("num_hidden_layers")
    if isinstance(layers, int) and layers > len(stored):
        return None
    try:
        source = _Source()
    except NotKnown:
        return None
    try:
        module = _model(source, config)
        if not _agree(module, stored):
            return None
        return module, _kind(source, module)
    except Exception:  # Whatever does not go with stand-ins has to be made in earnest.
        return None
    finally:
        source.close()


def _model(source: _Source, config: Mapping[str, Any]) -> Any:
    """The class that the configuration names, constructed."""
    made = _configuration(source, config)
    home = type(made).__module__.removeprefix(_OURS)
    (name,) = config["architectures"]
    classes = source.run(home.replace(".configuration_", ".modeling_"))
    kind = vars(classes)[name]
    if kind.__module__ != classes.__name__ or name not in vars(classes)["__all__"]:
        raise NotKnown(name)
    return kind(made)


def _configuration(source: _Source, config: Mapping[str, Any]) -> Any:
    """The configuration as its own class makes it, checks included."""
    kind = config["model_type"]
    names = vars(source.run("transformers.models.auto.auto_mappings"))
    name = names["CONFIG_MAPPING_NAMES"][kind]
    special = names.get("SPECIAL_MODEL_TYPE_TO_MODULE_NAME", {})
    folder = special.get(kind, kind).replace("-", "_")
    home = source.run(f"transformers.models.{folder}.configuration_{folder}")
    return vars(home)[name](**config)


def _agree(module: Any, stored: Mapping[str, Stored]) -> bool:
    """Whether the parameters and saved buffers are the stored tensors, shapes not known filled in from them."""
    tied = _tie(module)
    parameters = dict(module.named_parameters())
    held = set(stored) - {name for name, _ in module.named_buffers()}
    if not set(parameters) <= held <= {*parameters, *tied}:
        return False
    for name, value in parameters.items():
        if value.known is None:
            value.known = stored[name].shape
        if value.shape != stored[name].shape:
            return False
    return all(stored[own].shape == stored[tied[own]].shape for own in held & set(tied))


def _tie(module: Any) -> dict[str, str]:
    """Let parameters that the classes tie be one; their names, and of each the name of the other."""
    tied = {}
    for prefix, part in module.named_modules():
        if isinstance(part, PreTrainedModel) and getattr(part.config, "tie_word_embeddings", False):
            for own, other in (part._tied_weights_keys or {}).items():
                (holder, key), (source, name) = _holder(part, own), _holder(part, other)
                holder._parameters[key] = source._parameters[name]
                before = f"{prefix}." if prefix else ""
                tied[before + own] = before + other
    return tied


def _holder(module: Any, path: str) -> tuple[Any, str]:
    """The module that holds a parameter, and the parameter's own name there."""
    *way, name = path.split(".")
    for step in way:
        module = module._modules[step]
    if not isinstance(module._parameters[name], Shape):
        raise NotKnown(path)
    return module, name


def _kind(source: _Source, module: Any) -> str:
    """What the model is, as `kind_of` says it."""
    if module.main_input_name == "pixel_values":
        return "vision"
    names = vars(source.run("transformers.models.auto.modeling_auto"))["MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"].values()
    mine = {base.__name__ for base in type(module).__mro__}
    return "causal-lm" if mine & set(names) or type(module).__name__.endswith("ForCausalLM") else "encoder"


class _Source:
    """Runs source files of transformers, with stand-ins for what they import."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("transformers")
        if found is None or found.origin is None:
            raise NotKnown("transformers")
        self._root = Path(found.origin).parent
        self._ran: dict[str, ModuleType] = {}
        self._torch = torch_namespace()

    def run(self, name: str) -> ModuleType:
        """A module of transformers by its dotted name, run once."""
        if name not in self._ran:
            place = self._root.joinpath(*name.split(".")[1:])
            package = (place / "__init__.py").is_file()
            file = place / "__init__.py" if package else place.with_suffix(".py")
            # Registered under a name of its own: annotations are looked up in the module that a class names.
            module = self._ran[name] = sys.modules[_OURS + name] = ModuleType(_OURS + name)
            module.__dict__["__package__"] = name if package else name.rpartition(".")[0]
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
            code = SourceFileLoader(name, str(file)).get_code(name)
            assert code is not None
            exec(code, module.__dict__)
        return self._ran[name]

    def close(self) -> None:
        """Forget the modules; the classes in them say where they were read."""
        for name, module in self._ran.items():
            sys.modules.pop(_OURS + name, None)
            for value in vars(module).values():
                if isinstance(value, type) and value.__module__ == _OURS + name:
                    value.__module__ = name

    def _import(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
    ) -> Any:
        """What an import statement in such a file gets."""
        if level:
            parts = globals["__package__"].split(".")
            base = ".".join(parts[: len(parts) - level + 1])
            name = f"{base}.{name}" if name else base
        root = name.split(".")[0]
        if root == "torch":
            return self._torch if not fromlist else _at(self._torch, name)
        if root == "transformers":
            return self._own(name)
        if root in sys.stdlib_module_names or name == "huggingface_hub.dataclasses":
            return importlib.__import__(name, None, None, fromlist or (), 0)
        if importlib.util.find_spec(root) is None:
            raise ModuleNotFoundError(f"no module named '{root}'", name=root)
        return Anything(name)

    def _own(self, name: str) -> Any:
        """A module of transformers: run where it defines models or configurations, else anything."""
        if name in _RUN or (name.startswith("transformers.models.") and "." in name[len("transformers.models.") :]):
            return self.run(name)
        return _Other(name, self)


class _Other(Anything):
    """A module of transformers that is not run: few of its names matter."""

    def __init__(self, name: str, source: _Source) -> None:
        super().__init__(name)
        self._source = source
        self.PreTrainedModel = PreTrainedModel
        self.PushToHubMixin = type("PushToHubMixin", (), {"push_to_hub": Anything()})
        self.__version__ = Anything()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("is_") and name.endswith("_available"):
            return _available(name[len("is_") : -len("_available")])
        return super().__getattr__(name)


def _available(package: str) -> Callable[..., bool]:
    return lambda *_, **__: package == "torch" or importlib.util.find_spec(package) is not None


def _at(top: Any, name: str) -> Any:
    for part in name.split(".")[1:]:
        top = getattr(top, part)
    return top
