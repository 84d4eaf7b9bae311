"""The shipped metrics by name, with what each fills and where it comes from. It loads no PyTorch.

In the sources, p(x) is the probability of an example's target tokens, and NLL its negative log-likelihood in nats per
token.
"""

from collections.abc import Mapping

from trainables.deferred import Deferred
from trainables.metrics.metric import Column, Metric, ScoredSetsSettings
from trainables.metrics.shipped.settings import (
    AttackSettings,
    ExposureTailSettings,
    GradientNormSettings,
    MinKPlusPlusSettings,
    MinKSettings,
    ModelUtilitySettings,
    PrivLeakSettings,
    RougeSettings,
    SampledLeakageSettings,
    TruthRatioSettings,
)

_SHARE = "share"
_OPEN = frozenset({"open-unlearning"})


def _shipped(module: str, name: str) -> Deferred:
    return Deferred(f"trainables.metrics.shipped.{module}", name)


def _attack(
    name: str,
    what: str,
    source: str,
    *,
    settings: type[AttackSettings],
    unit: str,
    reads: frozenset[str] = frozenset(),
    needs_references: bool = False,
) -> Metric:
    """Return the metric of a membership attack: its area, its true-positive rate, and each example's score."""
    return Metric(
        compute=_shipped("membership", name),
        source=source,
        settings=settings,
        reads=reads,
        needs_references=needs_references,
        compats=_OPEN,
        columns={
            f"{name}_auc": Column(
                unit="",
                meaning=f"area under the ROC curve of telling the forget set from never-trained examples by {what}; "
                f"expected is what the reference models have (baselines), not 0.5"
                + ("; null where weights are quantized tensors" if "gradient_norms_NP" in reads else ""),
                goal="unexposed",
                unexposed=0.5,
            ),
            f"{name}_tpr": Column(
                unit=_SHARE,
                meaning=f"forget examples told by {what} at the metric's share of false_positives (by default 1 %, "
                f"which is none of fewer than 100 never-trained examples)",
            ),
        },
        example_columns={name: Column(unit=unit, meaning=f"membership score, lower for members: {what}")},
    )


SHIPPED: Mapping[str, Metric] = {
    "exposure_tail": Metric(
        compute=_shipped("exposure_tail", "exposure_tail"),
        source="Baluta et al. 2024, arXiv 2411.04388, whose definition of unlearning is that of the worst example",
        settings=ExposureTailSettings,
        columns={
            "gen_ex_max": Column(
                unit="bits", meaning="generalized exposure of the most exposed forget example", goal="unexposed"
            ),
            "gen_ex_p95": Column(
                unit="bits", meaning="95th percentile of generalized exposure over the forget set", goal="unexposed"
            ),
            "exposed_share": Column(
                unit=_SHARE,
                meaning="forget examples with a generalized exposure above the metric's threshold (by default 10 bits)",
            ),
            "rel_ex_max": Column(
                unit="bits", meaning="relative exposure of the most exposed forget example", goal="unexposed"
            ),
            "rel_ex_p95": Column(
                unit="bits", meaning="95th percentile of relative exposure over the forget set", goal="unexposed"
            ),
            "rel_ex_exposed_share": Column(
                unit=_SHARE,
                meaning="forget examples with a relative exposure above the metric's relative_threshold (by default "
                "4.32 bits); null where log2 of the population's size is not above it",
            ),
        },
    ),
    "mia_loss": _attack(
        "mia_loss",
        "NLL",
        "Yeom et al. 2018, arXiv 1709.01604: NLL",
        settings=AttackSettings,
        unit="nats/token",
    ),
    "mia_zlib": _attack(
        "mia_zlib",
        "NLL by byte of the compressed text",
        "Carlini et al. 2021, arXiv 2012.07805: NLL / bytes of zlib.compress(text)",
        settings=AttackSettings,
        unit="nats/token/byte",
        reads=frozenset({"texts"}),
    ),
    "mia_min_k": _attack(
        "mia_min_k",
        "the mean NLL of its least likely tokens (Min-K%)",
        "Shi et al. 2023, arXiv 2310.16789: mean NLL of the share k of least likely tokens",
        settings=MinKSettings,
        unit="nats/token",
        reads=frozenset({"logp_M"}),
    ),
    "mia_min_k_plus_plus": _attack(
        "mia_min_k_plus_plus",
        "Min-K%++",
        "Zhang et al. 2024, arXiv 2404.02936: Min-K% of log p, standardized over the vocabulary at each token",
        settings=MinKPlusPlusSettings,
        unit="",
        reads=frozenset({"logp_M", "mean_logp_M", "variance_logp_M"}),
    ),
    "mia_gradient_norm": _attack(
        "mia_gradient_norm",
        "the norm of its gradient",
        "Wang et al. 2024, arXiv 2402.17012: norm of the gradient of NLL",
        settings=GradientNormSettings,
        unit="",
        reads=frozenset({"gradient_norms_NP"}),
    ),
    "mia_reference": _attack(
        "mia_reference",
        "NLL less the reference models'",
        "Carlini et al. 2021, arXiv 2012.07805: NLL - mean NLL of the reference models",
        settings=AttackSettings,
        unit="nats/token",
        needs_references=True,
    ),
    "privleak": Metric(
        compute=_shipped("membership", "privleak"),
        source="Shi et al. 2024, arXiv 2407.06460 (MUSE): 100 (a - r) / r of a = 1 - AUC of Min-K%, r a reference's",
        settings=PrivLeakSettings,
        reads=frozenset({"logp_M"}),
        needs_references=True,
        compats=_OPEN,
        columns={
            "privleak": Column(
                unit="%",
                meaning="PrivLeak; 0 is as never trained, below 0 more is recognized than that, above 0 less",
                goal="unexposed",
                unexposed=0.0,
            )
        },
    ),
    "exact_memorization": Metric(
        compute=_shipped("verbatim", "exact_memorization"),
        source="Tirumala et al. 2022, arXiv 2205.10770: share of target tokens that are the most likely one",
        settings=ScoredSetsSettings,
        reads=frozenset({"is_top_M"}),
        compats=_OPEN,
        columns={
            "exact_memorization": Column(
                unit=_SHARE, meaning="target tokens that are the most likely one, mean over the forget set"
            )
        },
        example_columns={
            "exact_memorization": Column(unit=_SHARE, meaning="target tokens that are the model's most likely one")
        },
    ),
    "extraction_strength": Metric(
        compute=_shipped("verbatim", "extraction_strength"),
        source="Carlini et al. 2021, arXiv 2012.07805, as in arXiv 2406.09179: 1 - k / T, all from token k on greedy",
        settings=ScoredSetsSettings,
        reads=frozenset({"is_top_M"}),
        compats=_OPEN,
        columns={
            "extraction_strength": Column(
                unit=_SHARE, meaning="1 less the share of a target after which all the rest is greedy, mean"
            )
        },
        example_columns={
            "extraction_strength": Column(
                unit=_SHARE, meaning="1 less the share of the target after which all the rest is the greedy choice"
            )
        },
    ),
    "rouge": Metric(
        compute=_shipped("generated", "rouge"),
        source="Lin 2004: recall and F1 of words and of the longest common subsequence, of greedy generations",
        settings=RougeSettings,
        reads=frozenset({"truths", "generations"}),
        compats=_OPEN,
        columns={
            "rouge_1_recall": Column(unit=_SHARE, meaning="ROUGE-1 recall of generated targets, mean"),
            "rouge_l_recall": Column(unit=_SHARE, meaning="ROUGE-L recall of generated targets, mean"),
            "rouge_l_f1": Column(unit=_SHARE, meaning="ROUGE-L F1 of generated targets, mean"),
        },
        example_columns={
            "rouge_1_recall": Column(unit=_SHARE, meaning="ROUGE-1 recall of the generated target"),
            "rouge_l_recall": Column(unit=_SHARE, meaning="ROUGE-L recall of the generated target"),
            "rouge_l_f1": Column(unit=_SHARE, meaning="ROUGE-L F1 of the generated target"),
        },
    ),
    "sampled_leakage": Metric(
        compute=_shipped("generated", "sampled_leakage"),
        source="what the best of several sampled texts shows: their largest ROUGE-L recall (Lin 2004)",
        settings=SampledLeakageSettings,
        reads=frozenset({"truths", "samples"}),
        columns={
            "sampled_leakage": Column(unit=_SHARE, meaning="largest ROUGE-L recall of several sampled texts, mean"),
            "sampled_extraction": Column(unit=_SHARE, meaning="forget examples that a sampled text begins with"),
        },
        example_columns={"sampled_leakage": Column(unit=_SHARE, meaning="largest ROUGE-L recall of its sampled texts")},
    ),
    "probability": Metric(
        compute=_shipped("answers", "probability"),
        source="Maini et al. 2024, arXiv 2401.06121 (TOFU): exp(-NLL)",
        settings=ScoredSetsSettings,
        compats=_OPEN,
        columns={"probability": Column(unit="", meaning="geometric mean of the probabilities of target tokens, mean")},
        example_columns={
            "probability": Column(unit="", meaning="geometric mean of the probabilities of target tokens")
        },
    ),
    "probability_among_options": Metric(
        compute=_shipped("answers", "probability_among_options"),
        source="Maini et al. 2024, arXiv 2401.06121 (TOFU): p(answer) / (p(answer) + sum of p(wrong answers))",
        settings=ScoredSetsSettings,
        reads=frozenset({"paraphrase", "perturbed"}),
        compats=_OPEN,
        columns={
            "probability_among_options": Column(unit="", meaning="probability of the target among wrong answers, mean")
        },
        example_columns={
            "probability_among_options": Column(unit="", meaning="probability of the target among wrong answers")
        },
    ),
    "truth_ratio": Metric(
        compute=_shipped("answers", "truth_ratio"),
        source="Maini et al. 2024, arXiv 2401.06121 (TOFU): R = mean exp(-NLL of wrong) / exp(-NLL of right answer)",
        settings=TruthRatioSettings,
        reads=frozenset({"paraphrase", "perturbed"}),
        compats=_OPEN,
        columns={
            "truth_ratio": Column(
                unit="",
                meaning="mean of min(R, 1 / R) of the truth ratio R, or as the metric's aggregate says",
                goal="high",
            )
        },
        example_columns={"truth_ratio": Column(unit="", meaning="truth ratio R: wrong answers over the right one")},
    ),
    "forget_quality": Metric(
        compute=_shipped("answers", "forget_quality"),
        source="Maini et al. 2024, arXiv 2401.06121 (TOFU): Kolmogorov-Smirnov test of R against a reference's",
        reads=frozenset({"paraphrase", "perturbed"}),
        needs_references=True,
        compats=_OPEN,
        columns={
            "forget_quality": Column(
                unit="", meaning="p-value that truth ratios are a reference model's; 1 is best", goal="high"
            ),
            "forget_quality_ks": Column(
                unit="", meaning="distance of truth ratios from a reference model's; 0 is best"
            ),
        },
    ),
    "model_utility": Metric(
        compute=_shipped("answers", "model_utility"),
        source="Maini et al. 2024, arXiv 2401.06121 (TOFU): harmonic mean of probability, ROUGE-L and truth ratio",
        settings=ModelUtilitySettings,
        reads=frozenset({"paraphrase", "perturbed", "truths", "generations"}),
        compats=_OPEN,
        columns={
            "model_utility": Column(
                unit="", meaning="harmonic mean of what is kept of other sets; higher is better", goal="high"
            )
        },
    ),
}
