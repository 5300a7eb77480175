"""SPS in one file: Algorithm 1 of arXiv 2604.16995 on public functions, for any model that PyTorch can train.

    python examples/minimal_sps.py

RL (Eq. 3) puts probability on what earned reward. IRL (Eq. 4) then raises the likelihood of the model's own unlikely
rollouts, wrong ones first (L2TE), and RL goes on from there. Axes: N responses, T tokens.
"""

import numpy as np
import torch

import unsqueeze as uq
from unsqueeze import losses

CYCLES, RL_STEPS, IRL_STEPS = 2, 3, 2
PROMPTS, GROUP, MAX_TOKENS, DEMONSTRATIONS = 8, 16, 20, 3
GRPO = uq.ALGORITHMS["grpo"]


def logp_of(model, prompts, responses):
    """Log-probs [N, T] of the tokens of responses under the weights as they are now, and which of them are tokens."""
    sequences = [torch.tensor([*prompt, *response]) for prompt, response in zip(prompts, responses, strict=True)]
    tokens = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    logp = model(tokens[:, :-1]).logits.log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    rows = [row[len(p) - 1 :][: len(r)] for row, p, r in zip(logp, prompts, responses, strict=True)]
    mask = [torch.ones(len(response), dtype=torch.bool) for response in responses]
    return (torch.nn.utils.rnn.pad_sequence(part, batch_first=True) for part in (rows, mask))


def weights_of(responses):
    """The weight of every response's tokens in a loss that is a mean over tokens, then over responses."""
    lengths = torch.tensor([len(response) for response in responses])
    return losses.token_weights(
        lengths, "sequence_mean", num_rollouts=len(lengths), num_tokens=int(lengths.sum()), max_tokens=MAX_TOKENS
    )


def rl_step(source, optimizer, problems, seed):
    """One step of GRPO on verifiable rewards; returns the prompt, rollouts and rewards of every group."""
    groups = source.sample(problems, GROUP, max_tokens=MAX_TOKENS, seed=seed)
    told = uq.judge([p for p in problems for _ in range(GROUP)], [one.text for group in groups for one in group])
    rewards = torch.tensor([one.verdict.reward for one in told]).view(len(problems), GROUP)
    prompts = [prompt for prompt in source.prompts(problems) for _ in range(GROUP)]
    responses = [one.tokens for group in groups for one in group]
    logp, mask = logp_of(source.policy.model, prompts, responses)
    advantages = losses.group_advantages(rewards, GRPO.advantage_scale).flatten()
    step(optimizer, losses.clipped_surrogate_loss(logp, logp, advantages, mask, weights_of(responses), GRPO).loss)
    return list(zip(source.prompts(problems), groups, rewards.double().numpy(), strict=True))


def irl_phase(source, optimizer, groups, rng):
    """Choose each group's unlikely rollouts (L2TE), and take steps on their NLL; returns it before every step."""
    prompts, responses = [], []
    for prompt, rollouts, rewards in groups:
        likelihood = np.array([one.mean_logp for one in rollouts])
        for one in losses.select_demonstrations(likelihood, rewards, DEMONSTRATIONS, rng=rng):
            prompts.append(prompt)
            responses.append(rollouts[one.index].tokens)
    nll = []
    for _ in range(IRL_STEPS):
        logp, mask = logp_of(source.policy.model, prompts, responses)
        nll.append(step(optimizer, losses.nll_loss(logp, mask, weights_of(responses)).loss))
    return nll


def step(optimizer, loss):
    """Go down the gradient once; returns the loss before."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def main():
    source = uq.load_model("countdown-0.4m", device="cpu")
    problems = uq.load_problems("countdown", num_train=CYCLES * RL_STEPS * PROMPTS).train
    rl = torch.optim.AdamW(source.policy.model.parameters(), lr=2e-4)
    irl = torch.optim.AdamW(source.policy.model.parameters(), lr=5e-5)
    rng, taken = np.random.default_rng(0), 0
    for cycle in range(CYCLES):
        groups = []
        for _ in range(RL_STEPS):
            done = rl_step(source, rl, problems[taken : taken + PROMPTS], seed=taken)
            print(f"cycle {cycle}  RL step, reward {np.mean([rewards for _, _, rewards in done]):.3f}")
            groups, taken = groups + done, taken + PROMPTS
        nll = irl_phase(source, irl, groups, rng)
        print(f"cycle {cycle}  IRL phase, NLL of the unlikely rollouts {', '.join(f'{one:.4f}' for one in nll)}")


if __name__ == "__main__":
    main()
