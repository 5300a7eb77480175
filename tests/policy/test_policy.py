"""The policy's log-probs are those of the model, whatever the padding, the micro-batch or the family."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM, RemBertConfig, RemBertForCausalLM

from tiny_models import tiny_tokenizer
from unsqueeze.algos.objectives import LossOutput
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.config.settings import OptimizerSettings
from unsqueeze.errors import RunError, UserError
from unsqueeze.models import embedded_model_path
from unsqueeze.policy.batch import Row, collate
from unsqueeze.policy.optimize import make_optimizer, optimizer_step
from unsqueeze.policy.policy import Policy, resolve_device


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load(ModelSettings())


def row(prompt: list[int], response: list[int], **fields: float) -> Row:
    return Row(
        prompt_tokens=np.array(prompt, dtype=np.int32),
        tokens=np.array(response, dtype=np.int32),
        **{"weight": 0.0, **fields},
    )


ROWS = [row([1, 5, 6], [7, 8, 9, 10]), row([1, 20, 21, 22, 23], [24]), row([1], [11, 12])]


def by_the_book(model: torch.nn.Module, one: Row, temperature: float = 1.0) -> torch.Tensor:
    """Log-probs of one response from a plain forward pass over prompt and response, without padding."""
    tokens = torch.tensor(np.concatenate([one.prompt_tokens, one.tokens]))[None].long()
    logits = model(input_ids=tokens).logits[0] / temperature
    start = len(one.prompt_tokens)
    rows = logits[start - 1 : start - 1 + len(one.tokens)].log_softmax(-1)
    return rows.gather(1, torch.tensor(one.tokens).long()[:, None]).squeeze(1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("max_tokens", [8, 1000])
def test_scores_are_those_of_a_plain_forward_pass(policy: Policy, temperature: float, max_tokens: int):
    scored = policy.logp(ROWS, max_tokens=max_tokens, temperature=temperature)
    with torch.no_grad():
        for one, logp in zip(ROWS, scored, strict=True):
            expected = by_the_book(policy.model, one, temperature)
            np.testing.assert_allclose(logp, expected.numpy(), atol=2e-5)


def test_entropy_and_padding(policy: Policy):
    batch = collate(ROWS, pad=policy.pad, device=policy.device)
    with torch.no_grad():
        logp_NT, entropy_NT = policy.logprobs(batch)
        probs = policy.model(input_ids=torch.tensor([[1, 11]])).logits[0].softmax(-1)
    # Row 2: prompt [1], response [11, 12]; its second token is predicted from [1, 11].
    assert entropy_NT[2, 1].item() == pytest.approx(-(probs[1] * probs[1].log()).sum().item(), abs=1e-5)
    assert torch.equal(logp_NT[~batch.mask_NT], torch.zeros(12 - 7))
    assert torch.equal(entropy_NT[~batch.mask_NT], torch.zeros(12 - 7))


def test_a_model_that_caps_its_logits_is_taken_whole():
    """Gemma 2 passes its logits through a tanh: the head alone would give other log-probs."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5, initializer_range=1.0,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    capped = Policy(Gemma2ForCausalLM(config), tokenizer)
    with torch.no_grad():
        for one, logp in zip(ROWS, capped.logp(ROWS, max_tokens=1000), strict=True):
            np.testing.assert_allclose(logp, by_the_book(capped.model, one).numpy(), atol=2e-5)


def test_a_loss_that_is_not_finite_moves_nothing(policy: Policy):
    before = {name: parameter.detach().clone() for name, parameter in policy.trainable()}
    optimizer = make_optimizer(policy, OptimizerSettings(learning_rate=1e-3))

    def broken(logp_NT, entropy_NT, batch):
        loss = logp_NT.sum() * float("nan")
        return LossOutput(loss=loss, weight=torch.ones(()), metrics={})

    version = policy.version
    with pytest.raises(RunError, match="nan"):
        optimizer_step(policy, optimizer, ROWS, broken, tokens_per_microbatch=100, max_grad_norm=1.0)
    assert policy.version == version
    assert all(torch.equal(before[name], parameter) for name, parameter in policy.trainable())


@pytest.mark.parametrize("max_grad_norm", [0.5, 1e6])
def test_no_step_is_taken_on_a_gradient_longer_than_the_largest_norm(max_grad_norm: float):
    """Plain descent at a rate of 1 moves the weights by the gradient itself."""
    policy = Policy.load(ModelSettings())
    before = [parameter.detach().clone() for _, parameter in policy.trainable()]

    def likelihood(logp_NT, entropy_NT, batch):
        return LossOutput(loss=-logp_NT.sum(), weight=torch.ones(()), metrics={})

    optimizer = torch.optim.SGD([parameter for _, parameter in policy.trainable()], lr=1.0)
    result = optimizer_step(policy, optimizer, ROWS, likelihood, tokens_per_microbatch=100, max_grad_norm=max_grad_norm)
    steps = [parameter.detach() - old for old, (_, parameter) in zip(before, policy.trainable(), strict=True)]
    length = torch.stack([step.norm() for step in steps]).norm().item()
    assert 1 < result.grad_norm < 1e5  # as it was before it was cut
    assert length == pytest.approx(min(result.grad_norm, max_grad_norm), rel=1e-3)


def test_saving_in_bf16_leaves_training_in_fp32(policy: Policy, tmp_path):
    from transformers import AutoModelForCausalLM

    policy.save(tmp_path, dtype=torch.bfloat16)
    assert all(parameter.dtype is torch.float32 for _, parameter in policy.trainable())
    exported = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    trained = dict(policy.model.named_parameters())
    for name, parameter in exported.named_parameters():
        assert parameter.dtype is torch.bfloat16
        assert torch.equal(parameter, trained[name].bfloat16())


def test_a_gpu_that_is_not_there_is_a_mistake_of_the_user():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UserError, match="no GPU"):
        resolve_device("cuda")


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at all", "~/nowhere", "../nowhere"])
def test_a_folder_that_is_not_there_is_looked_for_nowhere_else(path: str):
    with pytest.raises(UserError, match="there is no such folder"):
        Policy.load(ModelSettings(path=path))


def test_gradient_checkpointing_computes_every_layer_twice_and_changes_nothing(policy: Policy):
    lean = Policy.load(ModelSettings(gradient_checkpointing=True))
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for layer in lean.model.model.layers:
        layer.mlp.register_forward_pre_hook(count)
    batch = collate(ROWS, pad=policy.pad, device=policy.device)
    sums = []
    for each in (policy, lean):
        logp_NT, _ = each.logprobs(batch)
        logp_NT.sum().backward()
        sums.append([logp_NT.detach(), *(p.grad.clone() for _, p in each.trainable())])
        each.model.zero_grad(set_to_none=True)
    assert calls == 2 * 3  # three layers, forward and again in the backward pass
    for plain, again in zip(*sums, strict=True):
        assert torch.equal(plain, again)
    assert not any(module.training for module in lean.model.modules() if isinstance(module, torch.nn.Dropout))


def test_a_model_with_more_than_a_head_behind_its_body_is_taken_whole():
    """RemBERT widens what its body gives before the head, so that the head does not fit the body."""
    config = RemBertConfig(
        vocab_size=32,
        hidden_size=16,
        input_embedding_size=8,
        output_embedding_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        is_decoder=True,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    model = RemBertForCausalLM(config).eval()
    policy = Policy(model, tiny_tokenizer())
    ids = [1, 5, 6, 7, 9, 4]
    row = Row(prompt_tokens=np.array(ids[:2], np.int32), tokens=np.array(ids[2:], np.int32), weight=1.0)
    with torch.no_grad():
        plain = model(torch.tensor([ids])).logits[0, 1:-1].log_softmax(-1)
    expected = plain[torch.arange(4), torch.tensor(ids[2:])].numpy()
    np.testing.assert_allclose(policy.logp([row], max_tokens=16)[0], expected, atol=1e-5)
