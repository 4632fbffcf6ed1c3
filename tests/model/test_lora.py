"""Adapters: the formula, what learns and what stays, in every type that a base is stored in."""

from __future__ import annotations

import copy

import pytest
import torch

from clet.exits import UsageError
from clet.model import lora
from clet.model.checkpoint import save_model, state_root, tensors_root
from clet.model.decoder import Decoder, token_losses
from clet.model.lora import LoraConfig, attach

FORM = LoraConfig(4, 8.0)


def randomise(model: Decoder, scale: float = 0.3) -> None:
    """Give the adapters' second factors values, as training would."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, module in lora.adapters(model):
            module.lora_B.normal_(0.0, scale, generator=generator)


def test_the_first_step_starts_from_the_base_exactly(tiny, random_ids):
    base, model = tiny(), tiny()
    attach(model, FORM, seed=1)
    with torch.no_grad():
        assert torch.equal(model(random_ids(2, 20)), base(random_ids(2, 20)))


@pytest.mark.parametrize(
    "changes",
    [{}, {"tie_embeddings": False}, {"num_experts": 4}, {"qkv_bias": True, "attention_output_bias": True}],
    ids=["tied", "untied", "experts", "biases"],
)
@pytest.mark.parametrize("targets", ["all", "attention", "down_proj,v_proj"])
def test_merged_weights_answer_as_the_adapters_do(tiny, random_ids, changes, targets):
    base, model = tiny(**changes), tiny(**changes)
    attach(model, LoraConfig(3, 5.0, lora.parse_targets(targets)), seed=1)
    randomise(model)
    plain = lora.merged(model)
    ids = random_ids(2, 20)
    with torch.no_grad():
        assert (model(ids) - plain(ids)).abs().max() < 2e-4 * model(ids).abs().max()
        assert not torch.allclose(plain(ids), base(ids), atol=1e-2)
    assert type(plain.model.layers[0].self_attn.q_proj) is torch.nn.Linear
    assert plain.state_dict().keys() == base.state_dict().keys()


@pytest.mark.parametrize(("stabilised", "scale"), [(False, 2.0), (True, 4.0)])
def test_a_merged_matrix_is_the_papers_formula(tiny, stabilised, scale):
    model = tiny()
    attach(model, LoraConfig(4, 8.0, ("q_proj",), stabilised), seed=1)
    randomise(model)
    module = model.model.layers[1].self_attn.q_proj
    expected = module.weight.double() + scale * (module.lora_B.double() @ module.lora_A.double())
    assert torch.allclose(lora.merged(model).model.layers[1].self_attn.q_proj.weight.double(), expected, atol=1e-6)


def test_gradients_are_those_of_the_composed_matrix(tiny, random_ids):
    model = tiny()
    attach(model, LoraConfig(4, 8.0, ("k_proj", "down_proj")), seed=1)
    randomise(model)
    ids = random_ids(2, 20)
    token_losses(model, ids)[0].mean().backward()
    whole = copy.deepcopy(lora.merged(model)).requires_grad_(True).train()
    token_losses(whole, ids)[0].mean().backward()
    for name, module in lora.adapters(model):
        dense = whole.get_submodule(name).weight.grad
        for got, expected in (
            (module.lora_A.grad, 2.0 * module.lora_B.T @ dense),
            (module.lora_B.grad, 2.0 * dense @ module.lora_A.T),
        ):
            assert (got - expected).abs().max() < 1e-4 * expected.abs().max()


def test_only_adapters_learn_and_only_they_are_saved(tiny, random_ids):
    model = tiny(tie_embeddings=False)
    before = tensors_root(lora.base_state(model))
    attach(model, FORM, seed=1)
    assert (
        lora.num_learned(model)
        == sum(4 * (m.in_features + m.out_features) for _, m in lora.adapters(model))
        == sum(t.numel() for t in lora.learned_state(model).values())
    )
    token_losses(model, random_ids(2, 20))[0].mean().backward()
    graded = {name for name, p in model.named_parameters() if p.grad is not None}
    assert graded == lora.learned_state(model).keys()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    optimizer.step()
    assert tensors_root(lora.base_state(model)) == before


def test_the_seed_and_the_name_alone_draw_an_adapter(tiny):
    def drawn(seed, targets):
        model = tiny()
        attach(model, LoraConfig(4, 8.0, targets), seed)
        return {name: module.lora_A for name, module in lora.adapters(model)}

    every, few, other = drawn(1, lora.PROJECTIONS), drawn(1, ("o_proj",)), drawn(2, ("o_proj",))
    assert len(every) == 14 and len(few) == 2
    for name, matrix in few.items():
        assert torch.equal(matrix, every[name]) and not torch.equal(matrix, other[name])
        assert matrix.abs().max() <= matrix.shape[1] ** -0.5
    assert not torch.equal(*(matrix[:, :32] for matrix in few.values()))


def test_learned_state_comes_back_and_another_models_is_refused(tiny):
    model, again, whole = tiny(), tiny(), tiny()
    for each in (model, again):
        attach(each, FORM, seed=1)
    randomise(model)
    lora.load_learned(again, {name: tensor.clone() for name, tensor in lora.learned_state(model).items()})
    assert state_root(again) == state_root(model)
    with pytest.raises(RuntimeError):
        lora.load_learned(again, lora.learned_state(whole))


@pytest.mark.parametrize("autocast", [False, True])
def test_a_base_in_bfloat16_stays_so_and_counts_as_its_wide_form(tiny, random_ids, autocast):
    stored = tiny().bfloat16()
    wide = copy.deepcopy(stored).float()
    attach(stored, FORM, seed=1)
    attach(wide, FORM, seed=1)
    for model in (stored, wide):
        randomise(model)
    layer = stored.model.layers[0]
    assert layer.mlp.up_proj.weight.dtype is torch.bfloat16 and layer.mlp.up_proj.lora_A.dtype is torch.float32
    assert layer.input_layernorm.weight.dtype is stored.head_weight.dtype is torch.float32
    assert tensors_root(lora.base_state(stored), torch.float32) == tensors_root(lora.base_state(wide))
    assert lora.base_bytes(stored) < 0.7 * lora.base_bytes(wide)
    losses = []
    for model in (stored, wide):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            nll, _ = token_losses(model, random_ids(2, 20))
        nll.mean().backward()
        losses.append(nll.detach())
    assert torch.equal(*losses)
    for (_, ours), (_, theirs) in zip(lora.adapters(stored), lora.adapters(wide), strict=True):
        assert torch.equal(ours.lora_A.grad, theirs.lora_A.grad) and torch.equal(ours.lora_B.grad, theirs.lora_B.grad)
    assert state_root(lora.merged(stored)) == state_root(lora.merged(wide))


def test_a_base_in_bfloat16_is_not_kept_wide_for_the_backward_pass(tiny, random_ids):
    kept: list[torch.Tensor] = []
    model = tiny().bfloat16()
    attach(model, FORM, seed=1)
    shapes = {tuple(m.weight.shape) for _, m in lora.adapters(model)}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        model.hidden(random_ids(2, 20))
    assert {t.dtype for t in kept if tuple(t.shape) in shapes} == {torch.bfloat16}


@pytest.mark.parametrize("text", ["", "lm_head", "q_proj,gate", "embed_tokens", "attention,up_proj"])
def test_what_has_no_adapter_is_refused_by_name(text):
    with pytest.raises(UsageError, match="adapters stand beside"):
        lora.parse_targets(text)


def test_a_rank_above_a_matrix_is_refused(tiny):
    with pytest.raises(UsageError, match="of rank 32 itself; choose at most 32"):
        attach(tiny(), LoraConfig(33, 8.0), seed=1)


@pytest.mark.parametrize("experts", [0, 4])
@pytest.mark.parametrize("adapted", [False, True])
def test_a_twin_learns_alone_and_shares_what_is_frozen(tiny, random_ids, experts, adapted):
    model = tiny(num_experts=experts).train()
    if adapted:
        attach(model, FORM, seed=1)
        randomise(model)
    (token_losses(model, random_ids(2, 20))[0].mean() + model.aux_loss()).backward()
    before = state_root(model)
    other = lora.twin(model)
    assert state_root(other) == before and all(p.grad is None for p in other.parameters())
    token_losses(other, random_ids(2, 20))[0].mean().backward()
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.requires_grad:
                parameter += 1.0
    assert state_root(model) == before
    theirs = {id(parameter) for parameter in model.parameters()}
    shared = [p for p in other.parameters() if id(p) in theirs]
    assert sum(p.nbytes for p in shared) == lora.base_bytes(model)


@pytest.mark.parametrize("adapted", [False, True])
def test_a_twin_takes_over_copies_that_exist_already(tiny, random_ids, adapted):
    model = tiny()
    if adapted:
        attach(model, LoraConfig(2, 4.0), seed=1)
    copies = {name: tensor.detach().clone() for name, tensor in lora.learned_state(model).items()}
    other = lora.twin(model, copies)
    assert all(tensor.data_ptr() == copies[name].data_ptr() for name, tensor in lora.learned_state(other).items())
    before = state_root(other)
    with torch.no_grad():
        assert torch.equal(other(random_ids(1, 8)), model(random_ids(1, 8)))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    assert state_root(other) == before


def test_a_model_without_adapters_is_its_own_merged_form(tiny):
    model = tiny()
    assert lora.merged(model) is model and not lora.is_adapted(model)
    assert lora.learned_state(model).keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    ("changes", "words"),
    [({}, "gate_proj and up_proj go together"), ({"mlp_only_layers": (1,)}, "use --lora-targets attention")],
)
def test_adapters_of_experts_that_peft_cannot_hold_are_refused(tiny, changes, words):
    targets = ("gate_proj",) if not changes else lora.PROJECTIONS
    with pytest.raises(UsageError, match=words):
        attach(tiny(num_experts=4, **changes), LoraConfig(4, 8.0, targets), seed=1)
    attach(tiny(num_experts=4, **changes), LoraConfig(4, 8.0, lora.ATTENTION), seed=1)


@pytest.mark.parametrize("experts", [0, 4])
@pytest.mark.parametrize("stabilised", [False, True])
def test_adapters_equal_those_of_peft(tiny, random_ids, tmp_path, experts, stabilised):
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    from clet.model.adapter import adapter_root, save_adapter

    model = tiny(tie_embeddings=False, num_experts=experts)
    save_model(model, tmp_path / "base")
    attach(model, LoraConfig(4, 6.0, lora.PROJECTIONS, stabilised), seed=1)
    randomise(model)
    root = save_adapter(model, tmp_path / "adapter", str(tmp_path / "base"))
    assert adapter_root(tmp_path / "adapter") == root
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    ids = random_ids(2, 20)
    with torch.no_grad():
        ours = model(ids)
        assert (ours - theirs(ids).logits).abs().max() < 1e-5 * ours.abs().max()
        assert (ours - theirs.merge_and_unload()(ids).logits).abs().max() < 1e-4 * ours.abs().max()
