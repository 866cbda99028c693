"""A student's right answers, and a catalogue of what goes wrong in them: each with the mistake that the checker must name.

``RIGHT`` is what a student may write. A wrong variant is (answer, kind, old, new): the text old of the right answer is
replaced by new, and the checker must find that kind of mistake and no other.
"""

RIGHT = {
    "FCLayer": """
class FCLayer(Layer):
    def __init__(self, num_input, num_output):
        super().__init__()
        std = (2 / (num_input + num_output)) ** 0.5
        self.W = nn.Parameter(std * torch.randn(num_input, num_output))
        self.b = nn.Parameter(torch.zeros(1, num_output))

    def forward(self, X):
        self.X = X
        Y = X @ self.W + self.b
        return Y

    def backward(self, delta):
        add_grad(self.W, self.X.T @ delta)
        add_grad(self.b, delta.sum(0, keepdim=True))
        dX = delta @ self.W.T
        return dX
""",
    "SigmoidLayer": """
class SigmoidLayer(Layer):
    def forward(self, X):
        self.X = X
        self.Y = 1 / (1 + torch.exp(-X))
        return self.Y

    def backward(self, delta):
        return delta * self.Y * (1 - self.Y)
""",
    "ReLULayer": """
class ReLULayer(Layer):
    def forward(self, X):
        self.X = X
        Y = X * (X > 0)
        self.Y = Y
        return Y

    def backward(self, delta):
        return delta * (self.X > 0)
""",
    "LeakyReLULayer": """
class LeakyReLULayer(Layer):
    def __init__(self, negative_slope=0.01):
        super().__init__()
        self.slope = negative_slope

    def forward(self, X):
        self.X = X
        return torch.where(X > 0, X, self.slope * X)

    def backward(self, delta):
        return torch.where(self.X > 0, delta, self.slope * delta)
""",
    "DropoutLayer": """
class DropoutLayer(Layer):
    def __init__(self, dropout_rate):
        super().__init__()
        self.p = dropout_rate

    def forward(self, X):
        if not self.training:
            self.noise = torch.ones_like(X)
            return X.clone()
        keep = torch.rand_like(X) >= self.p
        self.noise = keep / (1 - self.p)
        return X * self.noise

    def backward(self, delta):
        return delta * self.noise
""",
    "MeanOnlyBatchNormLayer": """
class MeanOnlyBatchNormLayer(Layer):
    def __init__(self, num_features):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, num_features))
        self.beta = nn.Parameter(torch.zeros(1, num_features))
        self.register_buffer("running_mean", torch.zeros(1, num_features))

    def forward(self, X):
        self.X, self.was_training = X, self.training
        if self.training:
            mu = X.mean(0, keepdim=True)
            self.running_mean = 0.9 * self.running_mean + 0.1 * mu.detach()
        else:
            mu = self.running_mean
        self.X_hat = X - mu
        self.Y = self.gamma * self.X_hat + self.beta
        return self.Y

    def backward(self, delta):
        add_grad(self.gamma, (delta * self.X_hat).sum(0, keepdim=True))
        add_grad(self.beta, delta.sum(0, keepdim=True))
        if not self.was_training:
            return self.gamma * delta
        return self.gamma * (delta - delta.mean(0, keepdim=True))
""",
    "MSELoss": """
class MSELoss(Loss):
    def forward(self, outputs, targets):
        self.difference = outputs - targets
        return (self.difference**2).mean()

    def backward(self):
        return 2 * self.difference / self.difference.numel()
""",
    "CrossEntropyLoss": """
class CrossEntropyLoss(Loss):
    def forward(self, outputs, targets):
        N, K = outputs.shape
        T = targets if targets.dim() == 2 else torch.eye(K, dtype=outputs.dtype)[targets]
        shifted = outputs - outputs.max(1, keepdim=True).values
        log_yh = shifted - shifted.exp().sum(1, keepdim=True).log()
        self.yh, self.T, self.z = log_yh.exp(), T, outputs
        return -(T * log_yh).sum(1).mean()

    def backward(self):
        return (self.yh - self.T) / len(self.T)
""",
    "SGD": """
class SGD:
    def __init__(self, params, learning_rate):
        self.params = list(params)
        self.learning_rate = learning_rate

    def step(self):
        with torch.no_grad():
            for p in self.params:
                p -= self.learning_rate * p.grad

    def zero_grad(self):
        for p in self.params:
            p.grad = None
""",
    "rosenbrock": """
def rosenbrock(x):
    x0, x1 = x
    value = 100 * (x1 - x0**2) ** 2 + (1 - x0) ** 2
    grad = np.array([-400 * x0 * (x1 - x0**2) - 2 * (1 - x0), 200 * (x1 - x0**2)])
    return value, grad
""",
    "rosenbrock_hessian": """
def rosenbrock_hessian(x):
    x0, x1 = x
    value = 100 * (x1 - x0**2) ** 2 + (1 - x0) ** 2
    grad = np.array([-400 * x0 * (x1 - x0**2) - 2 * (1 - x0), 200 * (x1 - x0**2)])
    hessian = np.array([[1200 * x0**2 - 400 * x1 + 2, -400 * x0], [-400 * x0, 200.0]])
    return value, grad, hessian
""",
    "GD": """
def GD(f, theta0, alpha, stop_tolerance=1e-10, max_steps=1_000_000):
    theta = np.array(theta0, dtype=float)
    value, grad = f(theta)
    history = [Step(theta, value, grad)]
    for _ in range(max_steps):
        theta = theta - alpha * grad
        old = value
        value, grad = f(theta)
        history.append(Step(theta, value, grad))
        if abs(value - old) < stop_tolerance:
            break
    return theta, history
""",
    "Newton": """
def Newton(f, theta0, alpha=1.0, stop_tolerance=1e-10, max_steps=1_000):
    theta = np.array(theta0, dtype=float)
    value, grad, hessian = f(theta)
    history = [Step(theta, value, grad)]
    for _ in range(max_steps):
        if np.linalg.norm(grad) < stop_tolerance:
            break
        lowest = np.linalg.eigvalsh(hessian)[0]
        tau = 0.0 if lowest > 1e-8 else 1e-3 - lowest
        p = -np.linalg.solve(hessian + tau * np.eye(len(theta)), grad)
        t = alpha
        while f(theta + t * p)[0] > value + 1e-4 * t * (p @ grad) and t > 1e-12:
            t = t / 2
        theta = theta + t * p
        value, grad, hessian = f(theta)
        history.append(Step(theta, value, grad))
    return theta, history
""",
    "train": """
def train(model, criterion, optimizer, train_dataloader, num_epoch, device):
    for epoch in range(1, num_epoch + 1):
        model.train()
        total = right = n = 0
        for X, targets in train_dataloader:
            X, targets = X.to(device), targets.to(device)
            outputs = model(X)
            loss = criterion(outputs, targets)
            optimizer.zero_grad()
            delta = criterion.backward()
            for layer in reversed(model):
                delta = layer.backward(delta)
            optimizer.step()
            total += loss.item() * len(X)
            right += (outputs.argmax(1) == targets.argmax(1)).sum().item()
            n += len(X)
        print(f"Epoch [{epoch}] Average training loss: {total / n:.4f}, Average training accuracy: {right / n:.4f}")
    return model
""",
    "test": """
def test(model, test_dataloader, device):
    model.eval()
    right = n = 0
    for X, targets in test_dataloader:
        outputs = model(X.to(device))
        right += (outputs.argmax(1) == targets.to(device).argmax(1)).sum().item()
        n += len(X)
    print(f"The test accuracy is {right / n:.4f}.")
    return right / n
""",
    "SimpleMLP": """
class SimpleMLP(nn.Module):
    def __init__(self, input_dim, hidden_dim, output_dim, num_hidden_layers=1, last_layer_activation_fn=None):
        super().__init__()
        layers = [nn.Linear(input_dim, hidden_dim), nn.ReLU()]
        for _ in range(num_hidden_layers - 1):
            layers += [nn.Linear(hidden_dim, hidden_dim), nn.ReLU()]
        layers += [nn.Linear(hidden_dim, output_dim)]
        if isinstance(last_layer_activation_fn, type):
            last_layer_activation_fn = last_layer_activation_fn()
        if last_layer_activation_fn is not None:
            layers += [last_layer_activation_fn]
        self.model = nn.Sequential(*layers)

    def forward(self, X):
        return self.model(X)
""",
    "SimpleMLPTrainer": """
class SimpleMLPTrainer:
    def __init__(self, model, criterion, optimizer):
        self.model, self.criterion, self.optimizer = model, criterion, optimizer

    def train(self, train_loader, num_epochs):
        self.model.train()
        losses = []
        for epoch in range(1, num_epochs + 1):
            total = n = 0
            for X, targets in tqdm(train_loader):
                loss = self.criterion(self.model(X), targets)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                total += loss.item() * len(X)
                n += len(X)
            losses.append(total / n)
            print(f"Epoch {epoch}/{num_epochs}, Loss: {losses[-1]:.4f}")
        return losses

    def evaluate(self, val_loader):
        self.model.eval()
        total = right = n = 0
        with torch.no_grad():
            for X, targets in val_loader:
                outputs = self.model(X)
                total += self.criterion(outputs, targets).item() * len(X)
                right += ((outputs > 0.5) == (targets > 0.5)).sum().item()
                n += len(X)
        return total / n, 100 * right / n
""",
}

RIGHT |= {
    "loss_setting": """
def loss_setting(loss):
    column, rows = lambda y: y.float()[:, None], lambda y: nn.functional.one_hot(y, 2).float()
    return {
        "L1Loss": (1, nn.Sigmoid(), column),
        "MSELoss": (1, nn.Sigmoid(), column),
        "BCEWithLogitsLoss": (1, None, column),
        "NLLLoss": (2, nn.LogSoftmax(dim=1), lambda y: y),
        "CrossEntropyLoss": (2, None, lambda y: y),
        "KLDivLoss": (2, nn.LogSoftmax(dim=1), rows),
        "CosineEmbeddingLoss": (2, None, lambda y: 2 * rows(y) - 1),
    }[loss]
""",
    "plot_decision_boundary": """
def plot_decision_boundary(model, X, y, alpha, X_test=None, y_test=None):
    a, b = np.meshgrid(np.linspace(-4, 4, 100), np.linspace(-4, 4, 100))
    Z = model.predict_proba(np.column_stack([a.ravel(), b.ravel()]))[:, 1].reshape(a.shape)
    fig = Figure(figsize=(5, 4), dpi=60)
    ax = fig.subplots()
    ax.imshow(Z, extent=(-4, 4, -4, 4), origin="lower")
    ax.scatter(*X.T, c=y, edgecolors="k")
    ax.set(title=f"alpha = {alpha}")
    file = io.BytesIO()
    fig.savefig(file)
    return Image.open(file).convert("RGB")
""",
    "create_decision_boundary_gif": """
def create_decision_boundary_gif(alphas, X_train, y_train, n_neurons, X_test=None, y_test=None, filename="a.gif"):
    frames = []
    for alpha in alphas:
        model = MLPClassifier((n_neurons,), alpha=alpha, solver="lbfgs", random_state=0).fit(X_train, y_train)
        fig = Figure(figsize=(2, 2), dpi=60)
        ax = fig.subplots()
        ax.scatter(*X_train.T, c=model.predict(X_train))
        ax.set(title=f"{alpha}")
        file = io.BytesIO()
        fig.savefig(file)
        frames.append(Image.open(file).convert("RGB"))
    frames[0].save(filename, save_all=True, append_images=frames[1:])
""",
}

# fmt: off
WRONG = [
    ("FCLayer", "super", "        super().__init__()\n", ""),
    ("FCLayer", "no parameter", "nn.Parameter(std * torch.randn(num_input, num_output))", "std * torch.randn(num_input, num_output)"),
    ("FCLayer", "parameter shape", "torch.randn(num_input, num_output)", "torch.randn(num_output, num_input)"),
    ("FCLayer", "zeros", "std * torch.randn(num_input, num_output)", "torch.zeros(num_input, num_output)"),
    ("FCLayer", "initial scale", "std * torch.randn", "torch.randn"),
    ("FCLayer", "bias start", "torch.zeros(1, num_output)", "torch.ones(1, num_output)"),
    ("FCLayer", "bias missing", "X @ self.W + self.b", "X @ self.W"),
    ("FCLayer", "bias sign", "X @ self.W + self.b", "X @ self.W - self.b"),
    ("FCLayer", "nothing returned", "        return Y\n", ""),
    ("FCLayer", "nothing returned", "        return dX\n", ""),
    ("FCLayer", "input modified", "self.X = X\n", "self.X = X\n        X += 1\n"),
    ("FCLayer", "dtype", "return Y", "return Y.float()"),
    ("FCLayer", "transposed", "self.X.T @ delta)", "(delta.T @ self.X))"),
    ("FCLayer", "sign", "add_grad(self.W, self.X.T @ delta)", "add_grad(self.W, -self.X.T @ delta)"),
    ("FCLayer", "factor 1/N (the batch)", "self.X.T @ delta)", "self.X.T @ delta / len(delta))"),
    ("FCLayer", "factor 1/N (the batch)", "delta.sum(0, keepdim=True)", "delta.mean(0, keepdim=True)"),
    ("FCLayer", "factor 2", "self.X.T @ delta)", "2 * self.X.T @ delta)"),
    ("FCLayer", "batch sum", "delta.sum(0, keepdim=True)", "delta"),
    ("FCLayer", "grad missing", "        add_grad(self.b, delta.sum(0, keepdim=True))\n", ""),
    ("FCLayer", "grad assigned", "add_grad(self.W, self.X.T @ delta)", "self.W.grad = self.X.T @ delta"),
    ("FCLayer", "weights not transposed", "delta @ self.W.T", "delta @ self.W"),
    ("FCLayer", "parameters changed", "        return dX", "        self.W -= 0.1 * self.W.grad\n        return dX"),
    ("FCLayer", "delta modified", "        dX =", "        delta *= 2\n        dX ="),
    ("FCLayer", "error", "self.X.T @ delta)", "self.inputs.T @ delta)"),
    ("FCLayer", "no method", "def backward", "def backwards"),
    ("FCLayer", "factor", "dX = delta @ self.W.T", "dX = 1.5 * delta @ self.W.T"),
    ("FCLayer", "only a batch of one", "dX = delta @ self.W.T", "dX = delta @ self.W.T * (0.5 if len(delta) == 1 else 1)"),
    ("SigmoidLayer", "exponent sign", "torch.exp(-X)", "torch.exp(X)"),
    ("SigmoidLayer", "another function", "1 / (1 + torch.exp(-X))", "torch.tanh(X)"),
    ("SigmoidLayer", "derivative missing", "delta * self.Y * (1 - self.Y)", "delta * 1"),
    ("SigmoidLayer", "derivative at X", "self.Y * (1 - self.Y)", "self.X * (1 - self.X)"),
    ("SigmoidLayer", "derivative at Y", "return delta *", "self.Y = 1 / (1 + torch.exp(-self.Y)); return delta *"),
    ("SigmoidLayer", "delta missing", "delta * self.Y", "self.Y"),
    ("SigmoidLayer", "half a derivative", " * (1 - self.Y)", ""),
    ("SigmoidLayer", "sign", "(1 - self.Y)", "(self.Y - 1)"),
    ("SigmoidLayer", "wrong", "(1 - self.Y)", "(1 - self.Y**2)"),
    ("SigmoidLayer", "no tensor", "1 / (1 + torch.exp(-X))", "1 / (1 + math.exp(-X))"),
    ("ReLULayer", "identity", "X * (X > 0)", "X.clone()"),
    ("ReLULayer", "absolute value", "X * (X > 0)", "abs(X)"),
    ("ReLULayer", "input modified", "Y = X * (X > 0)", "X[X < 0] = 0; Y = X"),
    ("ReLULayer", "derivative missing", "delta * (self.X > 0)", "delta.clone()"),
    ("ReLULayer", "other side", "self.X > 0", "self.X < 0"),
    ("ReLULayer", "times the output", "delta * (self.X > 0)", "delta * self.Y"),
    ("ReLULayer", "relu of delta", "delta * (self.X > 0)", "delta * (delta > 0)"),
    ("ReLULayer", "delta missing", "delta * (self.X > 0)", "(self.X > 0).to(delta.dtype)"),
    ("LeakyReLULayer", "slope missing forward", "torch.where(X > 0, X, self.slope * X)", "torch.relu(X)"),
    ("LeakyReLULayer", "slope sign", "torch.where(X > 0, X, self.slope * X)", "torch.where(X > 0, X, -self.slope * X)"),
    ("LeakyReLULayer", "slope ignored forward", "X, self.slope * X", "X, 0.01 * X"),
    ("LeakyReLULayer", "slope missing", "torch.where(self.X > 0, delta, self.slope * delta)", "delta * (self.X > 0)"),
    ("LeakyReLULayer", "slope ignored backward", "delta, self.slope * delta", "delta, 0.01 * delta"),
    ("LeakyReLULayer", "slope everywhere", "torch.where(self.X > 0, delta, self.slope * delta)", "self.slope * delta"),
    ("LeakyReLULayer", "derivative missing", "torch.where(self.X > 0, delta, self.slope * delta)", "1 * delta"),
    ("LeakyReLULayer", "super", "        super().__init__()\n", ""),
    ("DropoutLayer", "no dropout", "keep / (1 - self.p)", "torch.ones_like(X)"),
    ("DropoutLayer", "rate reversed", "torch.rand_like(X) >= self.p", "torch.rand_like(X) < self.p"),
    ("DropoutLayer", "not scaled", "keep / (1 - self.p)", "keep.to(X.dtype)"),
    ("DropoutLayer", "scaled by 1/p", "keep / (1 - self.p)", "keep / self.p"),
    ("DropoutLayer", "one draw for a row", "torch.rand_like(X)", "torch.rand_like(X[:, :1]).expand_as(X)"),
    ("DropoutLayer", "one draw for a column", "torch.rand_like(X)", "torch.rand_like(X[:1]).expand_as(X)"),
    ("DropoutLayer", "dropout in eval mode", "if not self.training:", "if False:"),
    ("DropoutLayer", "same mask again", "keep = torch", "torch.manual_seed(0); keep = torch"),
    ("DropoutLayer", "mask missing", "delta * self.noise", "1 * delta"),
    ("DropoutLayer", "scale missing", "delta * self.noise", "delta * (self.noise != 0)"),
    ("DropoutLayer", "dropped kept", "delta * self.noise", "delta * (self.noise == 0)"),
    ("DropoutLayer", "another mask", "delta * self.noise", "delta * ((torch.rand_like(delta) >= self.p) / (1 - self.p))"),
    ("DropoutLayer", "scaled in eval mode", "return X.clone()\n        keep = torch.rand_like(X) >= self.p\n        self.noise = keep / (1 - self.p)", "return X * (1 - self.p)\n        keep = torch.rand_like(X) >= self.p\n        self.noise = keep.to(X.dtype)"),
    ("DropoutLayer", "backward in eval mode", "            self.noise = torch.ones_like(X)\n", ""),
    ("DropoutLayer", "rate 0", "keep = torch.rand_like(X) >= self.p", "keep = torch.rand_like(X) >= max(self.p, 0.1)"),
    ("MeanOnlyBatchNormLayer", "gamma missing", "self.gamma * self.X_hat + self.beta", "self.X_hat + self.beta"),
    ("MeanOnlyBatchNormLayer", "beta missing", "self.gamma * self.X_hat + self.beta", "self.gamma * self.X_hat"),
    ("MeanOnlyBatchNormLayer", "one mean", "mu = X.mean(0, keepdim=True)", "mu = X.mean()"),
    ("MeanOnlyBatchNormLayer", "mean over features", "mu = X.mean(0, keepdim=True)\n            self.running_mean = 0.9 * self.running_mean + 0.1 * mu.detach()", "mu = X.mean(1, keepdim=True)"),
    ("MeanOnlyBatchNormLayer", "mean not subtracted", "self.X_hat = X - mu", "self.X_hat = 1 * X"),
    ("MeanOnlyBatchNormLayer", "batch mean in eval mode", "mu = self.running_mean\n", "mu = X.mean(0, keepdim=True)\n"),
    ("MeanOnlyBatchNormLayer", "mean missing", "self.gamma * (delta - delta.mean(0, keepdim=True))", "self.gamma * delta"),
    ("MeanOnlyBatchNormLayer", "sum for mean", "delta.mean(0", "delta.sum(0"),
    ("MeanOnlyBatchNormLayer", "gamma missing backward", "return self.gamma * (delta - delta.mean(0, keepdim=True))", "return delta - delta.mean(0, keepdim=True)"),
    ("MeanOnlyBatchNormLayer", "gamma on one path", "self.gamma * (delta - delta.mean(0, keepdim=True))", "self.gamma * delta - delta.mean(0, keepdim=True)"),
    ("MeanOnlyBatchNormLayer", "mean in eval mode", "if not self.was_training:", "if False:"),
    ("MeanOnlyBatchNormLayer", "not centred", "(delta * self.X_hat)", "(delta * self.X)"),
    ("MeanOnlyBatchNormLayer", "output for input", "(delta * self.X_hat)", "(delta * self.Y)"),
    ("MeanOnlyBatchNormLayer", "starts", "torch.ones(1, num_features)", "torch.zeros(1, num_features)"),
    ("MeanOnlyBatchNormLayer", "starts", '"running_mean", torch.zeros', '"running_mean", torch.ones'),
    ("MeanOnlyBatchNormLayer", "parameter shape", '"running_mean", torch.zeros(1, num_features)', '"running_mean", torch.zeros(num_features)'),
    ("MeanOnlyBatchNormLayer", "running mean not updated", "            self.running_mean = 0.9 * self.running_mean + 0.1 * mu.detach()\n", ""),
    ("MeanOnlyBatchNormLayer", "momentum reversed", "0.9 * self.running_mean + 0.1 * mu.detach()", "0.1 * self.running_mean + 0.9 * mu.detach()"),
    ("MeanOnlyBatchNormLayer", "running mean replaced", "0.9 * self.running_mean + 0.1 * mu.detach()", "mu.detach()"),
    ("MeanOnlyBatchNormLayer", "updated in eval mode", "            mu = self.running_mean\n", "            mu = self.running_mean\n            self.running_mean = 0.9 * mu + 0.1 * X.mean(0, keepdim=True)\n"),
    ("MeanOnlyBatchNormLayer", "grad assigned", "add_grad(self.beta, delta.sum(0, keepdim=True))", "self.beta.grad = delta.sum(0, keepdim=True)"),
    ("FCLayer", "shared memory", "self.X", "FCLayer.X"),
    ("ReLULayer", "any shape", "self.X = X\n", "self.X = X\n        N, D = X.shape\n"),
    ("ReLULayer", "only large inputs", "Y = X * (X > 0)", "Y = X.clamp(0, 20)"),
    ("SigmoidLayer", "only large inputs", "1 / (1 + torch.exp(-X))", "torch.exp(X) / (1 + torch.exp(X))"),
    ("FCLayer", "error", "def forward", "def foward"),
    ("MeanOnlyBatchNormLayer", "graph kept", "mu.detach()", "mu"),
    ("MeanOnlyBatchNormLayer", "only eval mode", "            mu = self.running_mean\n", "            mu = 0 * self.running_mean\n"),
    ("MSELoss", "factor N K (all entries)", "return 2 * self.difference / self.difference.numel()", "self.n = getattr(self, 'n', self.difference.numel()); return 2 * self.difference / self.n"),
    ("CrossEntropyLoss", "overflow", "self.yh, self.T", "log_yh = log_yh.clamp(-50); self.yh, self.T"),
    ("train", "layer left out", "for layer in reversed(model)", "for layer in (model[-1], model[0])"),
    ("train", "average", "outputs.argmax(1) == targets.argmax(1)", "outputs.argmax(0) == targets.argmax(0)"),
    ("test", "average", "outputs.argmax(1) == targets.to(device).argmax(1)", "outputs.argmax(0) == targets.argmax(0)"),
    ("SimpleMLP", "another activation", "nn.ReLU()", "nn.Sigmoid()"),
    ("SimpleMLP", "last activation", "layers += [last_layer_activation_fn]", "layers += [nn.Sigmoid()]"),
    ("loss_setting", "constant outputs", '"L1Loss": (1, nn.Sigmoid(), column)', '"L1Loss": (1, nn.Softmax(dim=1), column)'),
    ("loss_setting", "refused by torch", '"NLLLoss": (2, nn.LogSoftmax(dim=1), lambda y: y)', '"NLLLoss": (2, nn.LogSoftmax(dim=1), lambda y: y.int())'),
    ("FCLayer", "same start", "        std =", "        torch.manual_seed(0)\n        std ="),
    ("SGD", "wrong", "self.learning_rate * p.grad", "self.learning_rate * p.grad.clamp(-5, 5)"),
    ("Newton", "alpha ignored", "t = alpha\n", "t = 1.0\n"),
    ("Newton", "max_steps of Newton", "range(max_steps)", "range(1000)"),
    ("train", "number of steps", "            optimizer.step()\n", "            if n + len(X) == 10: optimizer.step()\n"),
    ("SimpleMLPTrainer", "training in eval mode", "        self.model.train()\n", ""),
    ("DropoutLayer", "mask repeated", "torch.rand_like(X) >=", "torch.rand_like(X[: len(X) // 2]).repeat(2, 1) >="),
    ("DropoutLayer", "backward forgets", "return delta * self.noise", "noise, self.noise = self.noise, 0 * self.noise; return delta * noise"),
    ("train", "criterion arguments", "criterion(outputs, targets)", "criterion(targets, outputs)"),
    ("train", "format", "Epoch [{epoch}]", "Epoch [1]"),
    ("SimpleMLPTrainer", "shuffling lost", "        losses = []\n", "        losses = []\n        train_loader = list(train_loader)\n"),
    ("plot_decision_boundary", "mirrored", "ax.imshow(Z,", "ax.imshow(Z[:, ::-1],"),
    ("plot_decision_boundary", "no regions", "model.predict_proba(np.column_stack([a.ravel(), b.ravel()]))[:, 1].reshape(a.shape)", "1.0 * (a > 0)"),
    ("MSELoss", "factor N K (all entries)", "(self.difference**2).mean()", "(self.difference**2).sum()"),
    ("MSELoss", "factor K (the number of outputs)", "(self.difference**2).mean()", "(self.difference**2).sum(1).mean()"),
    ("MSELoss", "factor 1/2", "(self.difference**2).mean()", "(self.difference**2).mean() / 2"),
    ("MSELoss", "not squared", "(self.difference**2).mean()", "self.difference.mean()"),
    ("MSELoss", "absolute differences", "(self.difference**2).mean()", "self.difference.abs().mean()"),
    ("MSELoss", "root", "(self.difference**2).mean()", "(self.difference**2).mean().sqrt()"),
    ("MSELoss", "not averaged", "(self.difference**2).mean()", "(self.difference**2).mean(1)"),
    ("MSELoss", "factor 1/2", "2 * self.difference /", "self.difference /"),
    ("MSELoss", "factor N K (all entries)", " / self.difference.numel()", ""),
    ("MSELoss", "sign", "2 * self.difference", "-2 * self.difference"),
    ("MSELoss", "only the sign", "2 * self.difference", "self.difference.sign()"),
    ("CrossEntropyLoss", "softmax twice", "log_yh = shifted - shifted.exp().sum(1, keepdim=True).log()", "log_yh = torch.log_softmax(torch.softmax(outputs, 1), 1)"),
    ("CrossEntropyLoss", "softmax over the batch", "log_yh = shifted - shifted.exp().sum(1, keepdim=True).log()", "log_yh = torch.log_softmax(outputs, 0)"),
    ("CrossEntropyLoss", "no logarithm", "-(T * log_yh)", "-(T * log_yh.exp())"),
    ("CrossEntropyLoss", "sign", "return -(T * log_yh)", "return (T * log_yh)"),
    ("CrossEntropyLoss", "factor N (the batch)", ".sum(1).mean()", ".sum()"),
    ("CrossEntropyLoss", "factor 1/K (the number of outputs)", ".sum(1).mean()", ".mean()"),
    ("CrossEntropyLoss", "overflow", "shifted = outputs - outputs.max(1, keepdim=True).values", "shifted = outputs"),
    ("CrossEntropyLoss", "class indices", "targets if targets.dim() == 2 else torch.eye(K, dtype=outputs.dtype)[targets]", "1.0 * targets"),
    ("CrossEntropyLoss", "target lost", "(self.yh - self.T)", "self.yh"),
    ("CrossEntropyLoss", "sign", "(self.yh - self.T)", "(self.T - self.yh)"),
    ("CrossEntropyLoss", "factor N (the batch)", " / len(self.T)", ""),
    ("CrossEntropyLoss", "softmax missing", "self.yh - self.T", "self.z - self.T"),
    ("CrossEntropyLoss", "no sum over classes", "(self.yh - self.T)", "-(self.T * (1 - self.yh))"),
    ("SGD", "ascent", "p -= self", "p += self"),
    ("SGD", "learning rate missing", "self.learning_rate * p.grad", "p.grad"),
    ("SGD", "unchanged", "p -= self.learning_rate * p.grad", "p = p - self.learning_rate * p.grad"),
    ("SGD", "grad recorded", "with torch.no_grad():", "if True:"),
    ("SGD", "some parameters", "for p in self.params:\n                p -=", "for p in self.params[:1]:\n                p -="),
    ("SGD", "old value lost", "p -= self.learning_rate * p.grad", "p.copy_(-self.learning_rate * p.grad)"),
    ("SGD", "divided by the rate", "self.learning_rate * p.grad", "p.grad / self.learning_rate"),
    ("SGD", "sign of the gradient", "self.learning_rate * p.grad", "self.learning_rate * p.grad.sign()"),
    ("SGD", "generator", "list(params)", "params"),
    ("SGD", "zero_grad", "            p.grad = None", "            grad = None"),
    ("SGD", "grad modified", "                p -= self.learning_rate * p.grad", "                p -= self.learning_rate * p.grad\n                p.grad *= 0"),
    ("rosenbrock", "100 missing", "100 * (x1", "(x1"),
    ("rosenbrock", "value not squared", "100 * (x1 - x0**2) ** 2", "100 * (x1 - x0**2)"),
    ("rosenbrock", "coordinates swapped", "    value = 100 * (x1 - x0**2) ** 2 + (1 - x0) ** 2", "    value = 100 * (x0 - x1**2) ** 2 + (1 - x1) ** 2"),
    ("rosenbrock", "inner derivative missing", "-400 * x0 * (x1", "-200 * (x1"),
    ("rosenbrock", "second term missing", " - 2 * (1 - x0)", ""),
    ("rosenbrock", "sign of the second term", " - 2 * (1 - x0)", " + 2 * (1 - x0)"),
    ("rosenbrock", "sign of the first term", "-400 * x0", "400 * x0"),
    ("rosenbrock", "entries swapped", "200 * (x1 - x0**2)])", "200 * (x1 - x0**2)])[::-1]"),
    ("rosenbrock", "no array", "np.array([-400 * x0 * (x1 - x0**2) - 2 * (1 - x0), 200 * (x1 - x0**2)])", "[-400 * x0 * (x1 - x0**2) - 2 * (1 - x0), 200 * (x1 - x0**2)]"),
    ("rosenbrock", "sign", "return value, grad", "return value, -grad"),
    ("rosenbrock", "not a tuple", "return value, grad", "return value"),
    ("rosenbrock", "nothing returned", "    return value, grad\n", ""),
    ("rosenbrock_hessian", "product rule", "1200 * x0**2 - 400 * x1 + 2", "800 * x0**2 + 2"),
    ("rosenbrock_hessian", "product rule, other term", "1200 * x0**2 - 400 * x1 + 2", "-400 * (x1 - x0**2) + 2"),
    ("rosenbrock_hessian", "constant missing", "1200 * x0**2 - 400 * x1 + 2", "1200 * x0**2 - 400 * x1"),
    ("rosenbrock_hessian", "mixed sign", "-400 * x0], [-400 * x0", "400 * x0], [400 * x0"),
    ("rosenbrock_hessian", "only the diagonal", "-400 * x0], [-400 * x0", "0], [0"),
    ("rosenbrock_hessian", "not symmetric", "-400 * x0], [", "400 * x0], ["),
    ("rosenbrock_hessian", "not symmetric below", "[-400 * x0, 200.0]", "[400 * x0, 200.0]"),
    ("GD", "ascent", "theta - alpha * grad", "theta + alpha * grad"),
    ("GD", "alpha missing", "theta - alpha * grad", "theta - grad"),
    ("GD", "normalised", "alpha * grad", "alpha * grad / np.linalg.norm(grad)"),
    ("GD", "old value lost", "theta - alpha * grad", "-alpha * grad"),
    ("GD", "stale gradient", "        value, grad = f(theta)\n        history", "        value, _ = f(theta)\n        history"),
    ("GD", "stopping rule", "abs(value - old) < stop_tolerance", "np.linalg.norm(grad) < stop_tolerance"),
    ("GD", "stops on a rise", "abs(value - old)", "old - value"),
    ("GD", "start missing", "    history = [Step(theta, value, grad)]", "    history = []"),
    ("GD", "history aliased", "theta = theta - alpha * grad", "theta -= alpha * grad"),
    ("GD", "start modified", "    theta = np.array(theta0, dtype=float)", "    theta = theta0 if isinstance(theta0, np.ndarray) else np.array(theta0, dtype=float)\n    theta0 = None\n    theta *= 1.0\n    theta += 1e-9"),
    ("GD", "stale value", "history.append(Step(theta, value, grad))", "history.append(Step(theta, old, grad))"),
    ("GD", "history entries", "history.append(Step(theta, value, grad))", "history.append(theta)"),
    ("GD", "max_steps", "range(max_steps)", "range(1_000)"),
    ("GD", "nothing returned", "    return theta, history\n", ""),
    ("GD", "no history", "    return theta, history", "    return theta, np.array([])"),
    ("Newton", "endless", "            t = t / 2\n", "            pass\n"),
    ("Newton", "no progress", "p = -np.linalg.solve", "p = np.linalg.solve"),
    ("Newton", "no Hessian", "-np.linalg.solve(hessian + tau * np.eye(len(theta)), grad)", "-grad / 1.0"),
    ("Newton", "times the Hessian", "-np.linalg.solve(hessian + tau * np.eye(len(theta)), grad)", "-hessian @ grad"),
    ("Newton", "diagonal only", "-np.linalg.solve(hessian + tau * np.eye(len(theta)), grad)", "-grad / np.diag(hessian)"),
    ("Newton", "elementwise inverse", "-np.linalg.solve(hessian + tau * np.eye(len(theta)), grad)", "-(1 / hessian) @ grad"),
    ("Newton", "no line search", "while f(theta", "while False and f(theta"),
    ("Newton", "towards a maximum", "tau = 0.0 if lowest > 1e-8 else 1e-3 - lowest", "tau = 0.0"),
    ("Newton", "stops early", "np.linalg.norm(grad) < stop_tolerance", "np.linalg.norm(grad) < 1e-4"),
    ("Newton", "slow", "t = alpha\n", "t = alpha / 64\n        if len(history) == 1: t = alpha\n"),
    ("train", "zero_grad forgotten", "            optimizer.zero_grad()\n", ""),
    ("train", "zero_grad too rare", "            optimizer.zero_grad()\n", "            if n == 0: optimizer.zero_grad()\n"),
    ("train", "step before backward", "            optimizer.zero_grad()\n", "            optimizer.zero_grad()\n            optimizer.step()\n"),
    ("train", "gradients thrown away", "            optimizer.step()\n", "            optimizer.zero_grad()\n            optimizer.step()\n"),
    ("train", "no step", "            optimizer.step()\n", ""),
    ("train", "layers not reversed", "reversed(model)", "model"),
    ("train", "delta not passed on", "delta = layer.backward(delta)", "layer.backward(delta)"),
    ("train", "loss.backward", "delta = criterion.backward()", "loss.backward(); delta = loss"),
    ("train", "step before backward", "            delta = criterion.backward()\n", "            optimizer.step()\n            delta = criterion.backward()\n"),
    ("train", "layer left out", "reversed(model)", "list(model)[:0:-1]"),
    ("train", "no backward of the loss", "criterion.backward()", "2 * (outputs - targets) / outputs.numel()"),
    ("train", "sign", "delta = criterion.backward()", "delta = -criterion.backward()"),
    ("train", "training in eval mode", "        model.train()\n", ""),
    ("train", "shuffling lost", "    for epoch in range", "    train_dataloader = list(train_dataloader)\n    for epoch in range"),
    ("train", "one batch an epoch", "            n += len(X)\n", "            n += len(X)\n            break\n"),
    ("train", "average: last batch", "loss.item() * len(X)\n            right += (outputs.argmax(1) == targets.argmax(1)).sum().item()\n            n += len(X)", "loss.item()\n            right += (outputs.argmax(1) == targets.argmax(1)).float().mean().item()\n            n += 1"),
    ("train", "average: over the data", "loss.item() * len(X)", "loss.item()"),
    ("train", "average: only the last", "total += loss.item() * len(X)", "total = loss.item() * 10"),
    ("train", "average: broadcast", "outputs.argmax(1) ==", "outputs.argmax(1, keepdim=True) =="),
    ("train", "average: percent", "{right / n:.4f}", "{100 * right / n:.4f}"),
    ("train", "nothing printed", "        print(", "        str("),
    ("train", "nothing returned", "    return model\n", ""),
    ("train", "number of batches", "range(1, num_epoch + 1)", "range(1, num_epoch + 2)"),
    ("test", "changed by a test", "    model.eval()\n", "    model.eval()\n    next(model.parameters()).data.mul_(0.5)\n"),
    ("test", "test in training mode", "    model.eval()\n", ""),
    ("test", "average: last batch", ".sum().item()\n        n += len(X)", ".float().mean().item()\n        n += 1"),
    ("test", "average: broadcast", "outputs.argmax(1) ==", "outputs.argmax(1)[:, None] =="),
    ("test", "average: percent", "return right / n", "return 100 * right / n"),
    ("test", "average: sum", "is {right / n:.4f}.", "is {right:.4f}."),
    ("test", "nothing returned", "    return right / n\n", ""),
    ("test", "nothing printed", "    print(", "    str("),
    ("test", "average: only the last", "        right +=", "        n = 0\n        right ="),
    ("SimpleMLP", "super", "        super().__init__()\n", ""),
    ("SimpleMLP", "not registered", "nn.Sequential(*layers)", "lambda X: [X := layer(X) for layer in layers][-1]"),
    ("SimpleMLP", "number of layers", "range(num_hidden_layers - 1)", "range(num_hidden_layers)"),
    ("SimpleMLP", "no activation", "[nn.Linear(input_dim, hidden_dim), nn.ReLU()]", "[nn.Linear(input_dim, hidden_dim)]"),
    ("SimpleMLP", "ReLU at the end", "layers += [nn.Linear(hidden_dim, output_dim)]", "layers += [nn.Linear(hidden_dim, output_dim), nn.ReLU()]"),
    ("SimpleMLP", "another activation", "[nn.Linear(input_dim, hidden_dim), nn.ReLU()]", "[nn.Linear(input_dim, hidden_dim), nn.Tanh()]"),
    ("SimpleMLP", "last activation", "            layers += [last_layer_activation_fn]", "            pass"),
    ("SimpleMLP", "nothing returned", "return self.model(X)", "self.model(X)"),
    ("SimpleMLPTrainer", "zero_grad forgotten", "                self.optimizer.zero_grad()\n", ""),
    ("SimpleMLPTrainer", "no step", "                self.optimizer.step()\n", ""),
    ("SimpleMLPTrainer", "other weights", "                loss.backward()\n                self.optimizer.step()\n", "                self.optimizer.step()\n                loss.backward()\n"),
    ("SimpleMLPTrainer", "average: last batch", "total += loss.item() * len(X)\n                n += len(X)", "total += loss.item()\n                n += 1"),
    ("SimpleMLPTrainer", "tensor kept", "total += loss.item() * len(X)", "total += loss * len(X)"),
    ("SimpleMLPTrainer", "nothing printed", "            print(", "            str("),
    ("SimpleMLPTrainer", "nothing returned", "        return losses\n", ""),
    ("SimpleMLPTrainer", "test in training mode", "        self.model.eval()\n", ""),
    ("SimpleMLPTrainer", "training in eval mode", "        self.model.train()\n", "        self.model.eval()\n"),
    ("SimpleMLPTrainer", "not percent", "100 * right / n", "right / n"),
    ("SimpleMLPTrainer", "average: broadcast", "((outputs > 0.5) == (targets > 0.5))", "((outputs > 0.5).view(-1) == (targets > 0.5))"),
    ("loss_setting", "not a probability", '"MSELoss": (1, nn.Sigmoid(), column)', '"MSELoss": (1, None, column)'),
    ("loss_setting", "sigmoid twice", '"BCEWithLogitsLoss": (1, None', '"BCEWithLogitsLoss": (1, nn.Sigmoid()'),
    ("loss_setting", "softmax twice", '"CrossEntropyLoss": (2, None', '"CrossEntropyLoss": (2, nn.Softmax(dim=1)'),
    ("loss_setting", "logarithm missing", '"NLLLoss": (2, nn.LogSoftmax(dim=1)', '"NLLLoss": (2, nn.Softmax(dim=1)'),
    ("loss_setting", "no log-probabilities", '"KLDivLoss": (2, nn.LogSoftmax(dim=1)', '"KLDivLoss": (2, nn.ReLU()'),
    ("loss_setting", "one output", '"CrossEntropyLoss": (2', '"CrossEntropyLoss": (1'),
    ("loss_setting", "indices wanted", '"NLLLoss": (2, nn.LogSoftmax(dim=1), lambda y: y)', '"NLLLoss": (2, nn.LogSoftmax(dim=1), rows)'),
    ("loss_setting", "float targets", '"KLDivLoss": (2, nn.LogSoftmax(dim=1), rows)', '"KLDivLoss": (2, nn.LogSoftmax(dim=1), lambda y: y)'),
    ("loss_setting", "targets without a column", "lambda y: y.float()[:, None]", "lambda y: y.float()"),
    ("loss_setting", "plus and minus one", "2 * rows(y) - 1", "rows(y)"),
    ("loss_setting", "targets of the wrong class", "2 * rows(y) - 1", "1 - 2 * rows(y)"),
    ("loss_setting", "logits changed", '"CosineEmbeddingLoss": (2, None', '"CosineEmbeddingLoss": (2, nn.ReLU()'),
    ("loss_setting", "logits changed", '"BCEWithLogitsLoss": (1, None', '"BCEWithLogitsLoss": (1, nn.ReLU()'),
    ("plot_decision_boundary", "nothing returned", "    return Image", "    Image"),
    ("plot_decision_boundary", "no image", 'return Image.open(file).convert("RGB")', "return fig"),
    ("plot_decision_boundary", "alpha not shown", 'f"alpha = {alpha}"', '"alpha"'),
    ("plot_decision_boundary", "no regions", "ax.imshow(Z,", "ax.imshow(0 * Z,"),
    ("plot_decision_boundary", "small image", "dpi=60", "dpi=10"),
    ("create_decision_boundary_gif", "one frame", ", save_all=True, append_images=frames[1:]", ""),
    ("create_decision_boundary_gif", "number of frames", "frames[1:]", "frames[2:]"),
    ("create_decision_boundary_gif", "no file", "frames[0].save(filename, ", "frames[0].save(filename + '2', format='GIF', "),
    ("create_decision_boundary_gif", "no GIF", "frames[0].save(filename, ", "frames[0].save(filename, format='PNG', "),
    ("SimpleMLPTrainer", "argmax of one output", "((outputs > 0.5) == (targets > 0.5))", "(outputs.argmax(1) == targets.view(-1))"),
]

RIGHT_FORMULAS = {
    "prediction-nll": ["falls without bound"],
    "prediction-kldiv": ["falls without bound"],
    "logistic-sigmoid": [r"\frac{1}{1+e^{-z}}", "1/(1+exp(-z))"],
    "one-minus-yh": [r"-\yh(1-\yh)", "-yh*(1-yh)"],
    "logistic-grad-w": [r"X^T \left(\hat{y} - y\right)", r"X^{\top}(\hat y-y)", r"X\T(\yh-y)", "X.T @ (yh - y)"],
    "logistic-grad-b": [r"\sum_{n=1}^N (\yh_n - y_n).", r"\sum_n(\yh_n-y_n)", "(yh-y).sum()", "sum(yh-y)"],
    "logistic-hessian": [r"\tilde{X}^\top S \tilde{X}", r"\tilde X\T S\tilde X", "X_tilde.T @ S @ X_tilde"],
    "bn-noise-variance": [r"\frac{(N-1)\tau^2}{N^2}", "(N-1)*tau**2/N**2"],
    "bn-index": [r"[i=j]-\frac1N", "(i==j)-1/N"],
    "bn-mean-only-grad": [r"\gamma\big(\delta_i-\frac1N\sum_j\delta_j\big)", "gamma*(delta[i]-delta.mean())"],
    "bn-large-batch": [r"\gamma(\delta_i-\E[\delta])", "gamma*(delta[i]-m)"],
    "softmax-jacobian": [r"\yh_k(\delta_{ik} - \yh_i)", r"\yh_k([i=k]-\yh_i)", "yh[k]*((i==k)-yh[i])"],
    "softmax-ce-grad": [r"\yh-y", "yh-y"],
    "mlp-delta": [r"\big(W_2\T(\yh-y)\big)\odot m\odot\varphi'(z_1)", "(W2.T@(yh-y))*m*varphi1(z1)"],
    "mlp-grad-w1": [r"\delta_1x\T", "np.outer(delta1,x)"],
    "jacobian-of-gradient": ["H_{ji}", "H[j,i]"],
    "dropout-grad": [r"-\nu_ix_i\big(y_d-\sum_k\nu_kw_kx_k\big)", "-nu[i]*x[i]*(y_d-(nu*w*x).sum())"],
    "dropout-mean-grad": [r"-(y_d-w\T x)x_i+s^2w_ix_i^2", "-(y_d-w@x)*x[i]+s**2*w[i]*x[i]**2"],
    "dropout-ridge": [r"\big(X\T X+s^2\diag(X\T X)\big)^{-1}X\T y", "np.linalg.inv(X.T@X+s**2*diag(X.T@X))@X.T@y"],
    "dropout-bernoulli": ["p(1-p)^{-1}", r"\frac p{1-p}", "p/(1-p)"],
    "l2-penalty": [r"\lambda\sum_jw_j^2", "lam * (w @ w)"],
    "newton-step": [r"x_t-\frac{f(x_t)}{f'(x_t)}", "x_t-f(x_t)/f1(x_t)"],
    "newton-constant": [r"\dfrac{f''(x^{*})}{2 f'(x^{*})}", r"\frac{f''(x^*)}{2f'(x^*)}", "f2(x_star)/(2*f1(x_star))"],
    "ce-coefficient": [r"-\sum_j\frac{y_j}{\yh_j}\yh_j([i=j]-\yh_i)", "yh[i]-y[i]"],
    "ce-hessian": [r"\operatorname{diag}(\hat y) - \hat y \hat y^T", r"\diag(\yh)-\yh\yh\T", "diag(yh)-np.outer(yh,yh)"],
    "ce-psd": [r"\frac12\sum_{i,j}\yh_i\yh_j(v_i-v_j)^2", "yh@v**2-(yh@v)**2"],
}
WRONG_FORMULAS = [
    ("prediction-nll", "prediction refuted", "goes to 0"),
    ("prediction-nll", "prediction", "explodes"),
    ("prediction-kldiv", "prediction refuted", "stays above 0"),
    ("prediction-kldiv", "not written", "?"),
    ("logistic-sigmoid", "erratum logistic-sigmoid", r"\frac{1}{1-e^{z}}"),
    ("logistic-sigmoid", "exponent sign", r"\frac{1}{1+e^{z}}"),
    ("one-minus-yh", "erratum logistic-lost-minus", r"\yh(1-\yh)"),
    ("logistic-grad-w", "erratum logistic-sign", r"X\T(y-\yh)"),
    ("logistic-grad-w", "target missing", r"X\T\yh"),
    ("logistic-grad-w", "mean for sum", "X.T @ (yh - y) / N"),
    ("logistic-grad-w", "unreadable", r"X(\yh-y)"),
    ("logistic-grad-w", "unreadable Python", "X @ (yh - y)"),
    ("logistic-grad-w", "not written", ""),
    ("logistic-grad-b", "mean for sum", r"\frac1N\sum_n(\yh_n-y_n)"),
    ("logistic-grad-b", "sum missing", r"\yh-y"),
    ("logistic-grad-b", "sign", r"\sum_n(y_n-\yh_n)"),
    ("logistic-hessian", "S missing", r"\tilde X\T\tilde X"),
    ("bn-noise-variance", "all terms counted", r"\frac{\tau^2}N"),
    ("bn-noise-variance", "standard deviation", "(N - 1) ** 0.5 * tau / N"),
    ("bn-index", "erratum bn-index", r"-\frac1N"),
    ("bn-index", "mean missing here", "i == j"),
    ("bn-mean-only-grad", "whole vector", "gamma * (delta - delta.mean())"),
    ("logistic-grad-w", "unreadable Python", "X.T(yh - y)"),
    ("bn-mean-only-grad", "mean missing", r"\gamma\delta_i"),
    ("bn-mean-only-grad", "sum for mean", r"\gamma\big(\delta_i-\sum_j\delta_j\big)"),
    ("bn-mean-only-grad", "gamma missing backward", r"\delta_i-\frac1N\sum_j\delta_j"),
    ("bn-large-batch", "erratum bn-dropped-sum", r"\gamma\delta_i"),
    ("softmax-jacobian", "erratum softmax-lost-factor", "yh[k] * (1 - yh[k]) if i == k else -exp(z[k]) / exp(z).sum() ** 2"),
    ("softmax-jacobian", "erratum ce-indices", r"\yh_k([i=k]-\yh_k)"),
    ("softmax-jacobian", "only the off-diagonal", r"-\yh_k\yh_i"),
    ("softmax-ce-grad", "erratum softmax-lost-target", r"\yh"),
    ("softmax-ce-grad", "erratum softmax-no-sum", r"-y\odot(\one-\yh)"),
    ("softmax-ce-grad", "sign", "y - yh"),
    ("mlp-delta", "erratum mlp-transpose", r"\big(W_2(\yh-y)\big)\odot m\odot\varphi'(z_1)"),
    ("mlp-delta", "erratum mlp-relu", "(W2.T @ (yh - y)) * m * (z1 > 0)"),
    ("mlp-delta", "erratum mlp-drop-probability", r"0.1\big(W_2\T(\yh-y)\big)\odot\varphi'(z_1)"),
    ("mlp-delta", "erratum mlp-lost-factors", r"(W_2\T\yh)\odot m\odot\varphi'(z_1)"),
    ("mlp-delta", "m missing", r"\big(W_2\T(\yh-y)\big)\odot\varphi'(z_1)"),
    ("mlp-delta", "phi' missing", r"\big(W_2\T(\yh-y)\big)\odot m"),
    ("mlp-grad-w1", "transposed", r"x\delta_1\T"),
    ("jacobian-of-gradient", "order of derivatives", "H_{ij}"),
    ("dropout-grad", "erratum dropout-sign", r"\nu_ix_i\big(y_d-\sum_k\nu_kw_kx_k\big)"),
    ("dropout-grad", "noise missing", r"-x_i\big(y_d-\sum_k\nu_kw_kx_k\big)"),
    ("dropout-grad", "inner derivative missing here", r"-\big(y_d-\sum_k\nu_kw_kx_k\big)"),
    ("dropout-mean-grad", "erratum dropout-no-mean", r"-(y_d-w\T x)x_i"),
    ("dropout-mean-grad", "penalty's sign", r"-(y_d-w\T x)x_i-s^2w_ix_i^2"),
    ("dropout-mean-grad", "s for its square", r"-(y_d-w\T x)x_i+sw_ix_i^2"),
    ("dropout-ridge", "plain ridge", r"(X\T X+s^2I)^{-1}X\T y"),
    ("dropout-ridge", "no penalty", r"(X\T X)^{-1}X\T y"),
    ("dropout-bernoulli", "standard dropout", "p * (1 - p)"),
    ("dropout-bernoulli", "second moment", r"\frac1{1-p}"),
    ("dropout-bernoulli", "upside down", r"\frac{1-p}p"),
    ("l2-penalty", "unreadable", r"\lambda\sum_{j=1}^{1}w_j^2"),
    ("l2-penalty", "erratum l2-penalty", r"\lambda\sum_jw_j"),
    ("newton-step", "erratum newton-minimises-f", r"x_t-\frac{f'(x_t)}{f''(x_t)}"),
    ("newton-step", "Newton's sign", r"x_t+\frac{f(x_t)}{f'(x_t)}"),
    ("newton-step", "gradient step", r"x_t\,-f(x_t)"),
    ("newton-constant", "erratum newton-dropped-term", r"-\frac{f''(x^*)}{2f'(x^*)}"),
    ("newton-constant", "factor 2", r"\frac{f''(x^*)}{f'(x^*)}"),
    ("ce-coefficient", "erratum ce-coefficient", r"-\sum_j\frac{y_i}{\yh_i}\yh_j([i=j]-\yh_i)"),
    ("ce-hessian", "only the off-diagonal", r"-\yh\yh\T"),
    ("ce-hessian", "only a diagonal", "diag(yh * (1 - yh))"),
    ("ce-psd", "erratum ce-dropped-diagonal", r"-\sum_i\sum_{j\ne i}v_iv_j\yh_i\yh_j"),
    ("ce-psd", "mean square", r"\sum_i\yh_iv_i^2"),
]
# fmt: on
