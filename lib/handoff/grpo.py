"""TRL's GRPOTrainer with alignbook's settings, for train.py. The reward is in reward.py.

Unlike the other kinds of training, the steps depend on the number of processes: each process samples with random
numbers of its own. Prompts, their order, settings and reward are alignbook's; nothing is compared.
"""

from reward import reward
from trl import GRPOConfig, GRPOTrainer


class ReadyPrompts(GRPOTrainer):
    """GRPOTrainer for prompts that are already token ids."""

    def _tokenize_prompts(self, prompts):
        return prompts, None, {}


def place_by_mask(model):
    """TRL pads prompts on the left, and transformers would count the padding in GPT-2's positions."""

    def positions(module, args, kwargs):
        if kwargs.get("position_ids") is None and kwargs.get("attention_mask") is not None:
            kwargs["position_ids"] = (kwargs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        return args, kwargs

    model.transformer.register_forward_pre_hook(positions, with_kwargs=True)


def penalized(run, end):
    """The reward, less what alignbook's settings charge for long answers and for those that did not end."""

    def score(completion_ids, **more):
        scores = reward(completion_ids=completion_ids, **more)
        return [
            score - run["lengthPenalty"] * len(ids) - (0 if end in ids else run["missingEosPenalty"])
            for score, ids in zip(scores, completion_ids, strict=True)
        ]

    return score


def grpo(run, folder, tokenizer, rows, common):
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked, so any token will do
    args = GRPOConfig(
        **{name: value for name, value in common.items() if name != "max_length"},
        num_generations=run["groupSize"],
        num_iterations=run["iterations"],
        max_completion_length=run["maxNewTokens"],
        temperature=run["temperature"],
        beta=run["beta"],
        epsilon=run["clipRange"],
        epsilon_high=run.get("epsilonHigh"),  # without it, as epsilon
        importance_sampling_level=run["level"],
        mask_truncated_completions=run["maskTruncated"],
        loss_type=run["lossType"],  # TRL's default is dapo
        scale_rewards="group" if run["scaleRewards"] else "none",
        use_bias_correction_kl=run["klRatio"],
        shuffle_dataset=False,
        disable_dropout=True,
        seed=run["seed"] % 2**32,
        model_init_kwargs={"dtype": "float32", "attn_implementation": "eager"},
    )
    score = penalized(run, tokenizer.eos_token_id)
    trainer = ReadyPrompts(
        str(folder / "model"), args=args, reward_funcs=score, train_dataset=rows, processing_class=tokenizer
    )
    for model in (trainer.model, trainer.ref_model):
        if model is not None:
            place_by_mask(model)
    return trainer
