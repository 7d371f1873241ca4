# Models of which only the first seed is run: the rules of the others, each over that seed alone.


ruleorder: single_train_original > train_original
ruleorder: single_train_retrained > train_retrained
ruleorder: single_unlearn > unlearn
ruleorder: single_evaluate_original > evaluate_original
ruleorder: single_evaluate_retrained > evaluate_retrained
ruleorder: single_evaluate_unlearned > evaluate_unlearned


use rule train_original as single_train_original with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=first_seed(BASE_SPLIT),
    output:
        models=first_seed(f"{ORIGINAL}/model.safetensors"),
        records=first_seed(f"{ORIGINAL}/training.json"),
    wildcard_constraints:
        model="|".join(SINGLE),
    params:
        code=code_version("orthograd.steps.train"),
        spec=training_spec,
        seeds=SEEDS[:1],


use rule train_retrained as single_train_retrained with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=first_seed(SPLIT),
    output:
        models=first_reference(f"{RETRAINED}/model.safetensors"),
        records=first_reference(f"{RETRAINED}/training.json"),
    wildcard_constraints:
        model="|".join(SINGLE),
    params:
        code=code_version("orthograd.steps.train"),
        spec=training_spec,
        seeds=SEEDS[:1],
        replicates=len(REPLICATES),


use rule unlearn as single_unlearn with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=first_seed(SPLIT),
        originals=first_seed(f"{ORIGINAL}/model.safetensors"),
        proxy_data=proxy_data,
    output:
        models=first_seed(f"{UNLEARNED}/model.safetensors"),
        trajectories=first_seed(f"{UNLEARNED}/trajectory.csv"),
        records=first_seed(f"{UNLEARNED}/unlearning.json"),
    wildcard_constraints:
        model="|".join(SINGLE),
    params:
        code=method_code,
        spec=unlearning_spec,
        seeds=SEEDS[:1],


use rule evaluate_original as single_evaluate_original with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=first_seed(SPLIT),
        models=first_seed(f"{ORIGINAL}/model.safetensors"),
        originals=first_seed(f"{ORIGINAL}/model.safetensors"),
        retrained=first_reference(f"{RETRAINED}/model.safetensors"),
        records=first_seed(f"{ORIGINAL}/training.json"),
    output:
        scores=first_seed(f"{ORIGINAL_IN_SCENARIO}/scores.npz"),
        metrics=first_seed(f"{ORIGINAL_IN_SCENARIO}/metrics.json"),
    wildcard_constraints:
        model="|".join(SINGLE),


use rule evaluate_retrained as single_evaluate_retrained with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=first_seed(SPLIT),
        models=first_reference(f"{RETRAINED}/model.safetensors"),
        originals=first_seed(f"{ORIGINAL}/model.safetensors"),
        retrained=first_reference(f"{RETRAINED}/model.safetensors"),
        records=first_reference(f"{RETRAINED}/training.json"),
    output:
        scores=first_reference(f"{RETRAINED}/scores.npz"),
        metrics=first_reference(f"{RETRAINED}/metrics.json"),
    wildcard_constraints:
        model="|".join(SINGLE),


use rule evaluate_unlearned as single_evaluate_unlearned with:
    input:
        dataset=f"{DATA}/dataset.safetensors",
        splits=first_seed(SPLIT),
        models=first_seed(f"{UNLEARNED}/model.safetensors"),
        originals=first_seed(f"{ORIGINAL}/model.safetensors"),
        retrained=first_reference(f"{RETRAINED}/model.safetensors"),
        records=first_seed(f"{UNLEARNED}/unlearning.json"),
    output:
        scores=first_seed(f"{UNLEARNED}/scores.npz"),
        metrics=first_seed(f"{UNLEARNED}/metrics.json"),
    wildcard_constraints:
        model="|".join(SINGLE),
