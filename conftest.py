"""An (empty) root conftest: pytest puts this folder, with layers.py, optim.py and train_utils.py, on the path."""
