"""LoRA (Hu et al. 2021, arXiv:2106.09685): a frozen base, and beside each chosen matrix a product of two thin ones.

    y = x W^T + scale * (x A^T) B^T        W [out, in] frozen, A [r, in] Kaiming-uniform, B [out, r] zero at the start

so that the first step starts from the base exactly. `scale` is alpha / r, under which the best learning rate hardly
depends on r; or, rank-stabilised, alpha / sqrt(r) (Kalajdzievski 2023, arXiv:2312.03732), under which large ranks go
on gaining. A is drawn from a stream of the matrix's own name: the same seed, the same adapters, whatever else is.

The adapters stand in the place of `nn.Linear`, so the decoder does not know of them. Only they have gradients and
moments: r * (in + out) numbers a matrix, each with 12 bytes more in float32, where full training has 12 bytes more for
each of in * out. The frozen matrices may stay in the type in which they are stored; they are widened for each product,
one at a time, and again in the backward pass. Time: the gradients of W, a third of the products, are not computed; the
thin products cost r/in + r/out. On a CPU whole training has kernels that adapters go without, and is as fast: 3.4
against 3.3 s of CPU for 1024 tokens of `small`, with moments of 394 against 19 MB. Train all weights instead when there
is much to learn: what was learned at pre-training scale does not fit into a few ranks (arXiv:2405.09673).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from clet import seeds
from clet.exits import UsageError
from clet.model.config import ModelConfig
from clet.model.decoder import Decoder
from clet.model.moe import SparseBlock

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
PROJECTIONS = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
SETS = {"all": PROJECTIONS, "attention": ATTENTION}
A, B = "lora_A", "lora_B"


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Rank, alpha, names of the matrices that get adapters, and whether alpha is divided by the root of the rank."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = PROJECTIONS
    rank_stabilised: bool = False

    @property
    def scale(self) -> float:
        """What the product of the two thin matrices is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


def parse_targets(text: str) -> tuple[str, ...]:
    """The names meant by `all`, `attention` or `NAME,...`, in the order of a layer. Raises UsageError."""
    if text in SETS:
        return SETS[text]
    names = text.split(",")
    if wrong := [name for name in names if name not in PROJECTIONS]:
        raise UsageError(
            f"--lora-targets {wrong[0] or text!r}: adapters stand beside {', '.join(PROJECTIONS)} (all, attention); "
            "embedding, head, norms and routers stay as they are"
        )
    return tuple(name for name in PROJECTIONS if name in names)


class FrozenLinear(nn.Linear):
    """A linear map that is not trained, its weights in the type in which they are stored."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out], in the type of x (autocast's where that is on)."""
        if self.weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type):
            return F.linear(x, self.weight, self.bias)
        return _WideProduct.apply(x, self.weight, self.bias)


class AdaptedLinear(FrozenLinear):
    """A frozen linear map with an adapter beside it."""

    def __init__(self, linear: nn.Linear, form: LoraConfig, generator: torch.Generator) -> None:
        super().__init__(linear)
        self.form, self.scale = form, form.scale
        bound = 1.0 / math.sqrt(self.in_features)  # Kaiming-uniform with a = sqrt(5), as peft and torch's Linear draw
        drawn = torch.empty(form.rank, self.in_features).uniform_(-bound, bound, generator=generator)
        device = linear.weight.device
        self.lora_A = nn.Parameter(drawn.to(device))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, form.rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]."""
        out, low = super().forward(x), F.linear(x, self.lora_A)
        return torch.addmm(out.flatten(0, -2), low.flatten(0, -2), self.lora_B.t(), alpha=self.scale).view_as(out)

    def merged(self) -> Tensor:
        """W + scale * B A [out, in], in float32 on the CPU."""
        with torch.no_grad():
            weight = self.weight.detach().to("cpu", torch.float32)
            return torch.addmm(weight, self.lora_B.detach().cpu(), self.lora_A.detach().cpu(), alpha=self.scale)


class _WideProduct(torch.autograd.Function):
    """x W^T + b with W in another type than x: only W itself is kept for the backward pass, not its wide copy."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return grad @ weight.to(grad.dtype), None, None


def attach(model: Decoder, form: LoraConfig, seed: int) -> None:
    """Freeze `model` and put adapters beside the matrices that `form` names; whatever is no projection is widened.

    Embedding, head and norms become float32, projections keep the type they have. Raises UsageError for a rank above
    that of a matrix, and for adapters of experts that PEFT has no form for.
    """
    _check_experts(model.config, form)
    model.requires_grad_(False)
    linears = [(name, module) for name, module in model.model.named_modules() if isinstance(module, nn.Linear)]
    kept = {id(module.weight) for _, module in linears}
    for parameter in model.parameters():
        if id(parameter) not in kept:
            parameter.data = parameter.data.float()
    for name, linear in linears:
        place, _, leaf = name.rpartition(".")
        if leaf in form.targets:
            _check_rank(name, linear, form.rank)
            generator = seeds.torch_generator(seed, f"lora/model.{name}")
            frozen: FrozenLinear = AdaptedLinear(linear, form, generator)
        else:
            frozen = FrozenLinear(linear)
        setattr(model.model.get_submodule(place), leaf, frozen)


def _check_experts(config: ModelConfig, form: LoraConfig) -> None:
    """PEFT fuses gate_proj and up_proj of experts, and takes a projection's name for that of all experts or of none."""
    named = set(form.targets) - set(ATTENTION)
    if not config.num_experts or not named:
        return
    if len(named & {"gate_proj", "up_proj"}) == 1:
        raise UsageError(f"--lora-targets {','.join(form.targets)}: of experts, gate_proj and up_proj go together")
    if not all(config.is_sparse(layer) for layer in range(config.num_layers)):
        raise UsageError("--lora: experts in some layers and dense blocks in others; use --lora-targets attention")


def _check_rank(name: str, linear: nn.Linear, rank: int) -> None:
    largest = min(linear.in_features, linear.out_features)
    if rank > largest:
        raise UsageError(
            f"--lora {rank}: {name} is {linear.out_features} x {linear.in_features}, of rank {largest} itself; choose "
            f"at most {largest}, or other --lora-targets"
        )


def adapters(model: Decoder) -> Iterator[tuple[str, AdaptedLinear]]:
    """(name, module) of each matrix with an adapter; none for a model that is trained whole."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, AdaptedLinear))


def is_adapted(model: Decoder) -> bool:
    """Whether `model` has adapters."""
    return next(adapters(model), None) is not None


def base_state(model: Decoder) -> dict[str, Tensor]:
    """The tensors of a model without its adapters: what the base was loaded as."""
    return {name: tensor for name, tensor in model.state_dict().items() if name.rpartition(".")[2] not in (A, B)}


def learned_state(model: Decoder) -> dict[str, Tensor]:
    """The tensors that training changes, sharing the model's memory: all, or where there are adapters those alone."""
    state = dict(model.state_dict())
    if not is_adapted(model):
        return state
    return {name: tensor for name, tensor in state.items() if name.rpartition(".")[2] in (A, B)}


def load_learned(model: Decoder, tensors: dict[str, Tensor]) -> None:
    """Put back what `learned_state` gave. Raises RuntimeError where the names or shapes are others."""
    expected = learned_state(model)
    if expected.keys() != tensors.keys():
        raise RuntimeError(f"state of another model: {sorted(expected.keys() ^ tensors.keys())[:3]}")
    model.load_state_dict(tensors, strict=False)


def merged(model: Decoder) -> Decoder:
    """A plain decoder with the adapters' products added, in float32 on the CPU; `model` itself if it has none.

    Takes the memory of the matrices that have adapters; the others are shared where they are float32.
    """
    if not is_adapted(model):
        return model
    state = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in base_state(model).items()}
    state |= {f"{name}.weight": module.merged() for name, module in adapters(model)}
    with torch.device("meta"):
        plain = Decoder(model.config)
    plain.load_state_dict(state, assign=True)
    return plain.requires_grad_(False).eval()


def twin(model: Decoder, learned: Mapping[str, Tensor] | None = None) -> Decoder:
    """A model that answers and learns as `model` does, its learned tensors copied, its frozen ones shared.

    Copies of the learned tensors (`learned_state`) that exist already may be given, and are taken over.
    """
    shared = {id(parameter): parameter for parameter in model.parameters() if not parameter.requires_grad}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and learned is not None:
            shared[id(parameter)] = nn.Parameter(learned[name])
    # What the last pass left in a sparse block belongs to that pass, and has no copy.
    shared |= {id(module.balance): None for module in model.modules() if isinstance(module, SparseBlock)}
    return copy.deepcopy(model, shared)


def num_learned(model: Decoder) -> int:
    """Number of weights that training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def base_bytes(model: Decoder) -> int:
    """Memory of the weights that training does not change."""
    return sum(parameter.nbytes for parameter in model.parameters() if not parameter.requires_grad)
