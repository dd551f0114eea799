"""Networks: models, training, features, evaluation and explanation."""
