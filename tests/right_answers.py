"""What a student may write: the right answers in code, and the right formulas in LaTeX and in Python."""

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
    "newton_direction": """
def newton_direction(grad, hessian):
    lowest = np.linalg.eigvalsh(hessian)[0]
    tau = 0.0 if lowest > 1e-8 else 1e-3 - lowest
    return -np.linalg.solve(hessian + tau * np.eye(len(grad)), grad)
""",
    "line_search": """
def line_search(f, theta, p, alpha=1.0):
    value, grad, _ = f(theta)
    t = alpha
    while f(theta + t * p)[0] > value + 1e-4 * t * (p @ grad) and t > 1e-12:
        t = t / 2
    return t
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
    x0, x1 = (np.linspace(x.min() - 1, x.max() + 1, 90) for x in X.T)
    a, b = np.meshgrid(x0, x1)
    Z = model.predict_proba(np.column_stack([a.ravel(), b.ravel()]))[:, 1].reshape(a.shape)
    fig = Figure(figsize=(5, 4), dpi=60)
    ax = fig.subplots()
    extent = x0[0], x0[-1], x1[0], x1[-1]
    ax.imshow(Z, extent=extent, origin="lower", aspect="auto")
    ax.scatter(*X.T, c=y, edgecolors="k")
    ax.set(title=f"alpha = {alpha}")
    file = io.BytesIO()
    fig.savefig(file)
    return Image.open(file).convert("RGB")
""",
    "create_decision_boundary_gif": """
def create_decision_boundary_gif(alphas, X_train, y_train, n_neurons, X_test=None, y_test=None, filename="a.gif"):
    frames, grid = [], np.meshgrid(*(np.linspace(x.min(), x.max(), 50) for x in X_train.T))
    for alpha in alphas:
        model = MLPClassifier((n_neurons,), alpha=alpha, solver="lbfgs", random_state=0).fit(X_train, y_train)
        fig = Figure(figsize=(2, 2), dpi=60)
        ax = fig.subplots()
        ax.contourf(*grid, model.predict(np.stack(grid, -1).reshape(-1, 2)).reshape(50, 50))
        ax.set(title=f"{alpha}")
        file = io.BytesIO()
        fig.savefig(file)
        frames.append(Image.open(file).convert("RGB"))
    frames[0].save(filename, save_all=True, append_images=frames[1:])
""",
}

RIGHT_FORMULAS = {
    "prediction-nll": ["falls without bound"],
    "prediction-kldiv": ["goes to 0"],
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
    "ce-hessian": [r"\operatorname{diag}(\hat y) - \hat y \hat y^T", "diag(yh)-np.outer(yh,yh)"],
    "ce-psd": [r"\frac12\sum_{i,j}\yh_i\yh_j(v_i-v_j)^2", "yh@v**2-(yh@v)**2"],
}

RIGHT_VARIANTS = [  # other ways to write a task, which differ in kind
    (
        "SGD",
        """
class SGD:
    def __init__(self, params, learning_rate):
        self.params, self.rate = tuple(params), learning_rate

    def step(self):
        for p in self.params:
            if p.grad is not None:
                p.data = p.data - self.rate * p.grad

    def zero_grad(self):
        for p in self.params:
            if p.grad is not None:
                p.grad.zero_()
""",
    ),
    (
        "rosenbrock",
        """
def rosenbrock(x):
    x = torch.tensor(x, requires_grad=True)
    value = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
    value.backward()
    return value.item(), x.grad.numpy()
""",
    ),
    (
        "GD",
        """
def GD(f, theta0, alpha, stop_tolerance=1e-10, max_steps=1_000_000):
    theta = np.array(theta0, dtype=float)
    history = [Step(theta.copy(), *f(theta))]
    change = np.inf
    while change >= stop_tolerance and len(history) <= max_steps:
        theta -= alpha * f(theta)[1]
        history.append(Step(theta.copy(), *f(theta)))
        change = abs(history[-1].value - history[-2].value)
    return theta, tuple(history)
""",
    ),
    (
        "newton_direction",
        """
def newton_direction(grad, hessian):
    values, vectors = np.linalg.eigh(hessian)
    return -vectors @ (vectors.T @ grad / np.maximum(abs(values), 1e-6))
""",
    ),
    (
        "newton_direction",
        """
def newton_direction(grad, hessian):
    tau = 0.0
    while True:
        try:
            np.linalg.cholesky(hessian + tau * np.eye(len(grad)))
            return -np.linalg.solve(hessian + tau * np.eye(len(grad)), grad), tau
        except np.linalg.LinAlgError:
            tau = max(2 * tau, 1e-3)
""",
    ),
    (
        "newton_direction",
        """
def newton_direction(grad, hessian):
    definite = np.linalg.eigvalsh(hessian).min() > 0
    return np.linalg.solve(hessian, -grad) if definite else -grad
""",
    ),
    (
        "line_search",
        """
def line_search(f, theta, p, alpha=1.0):
    value, grad, _ = f(theta)
    for t in alpha * 0.5 ** np.arange(60):
        if f(theta + t * p)[0] < value + 1e-4 * t * np.dot(p, grad):
            return t
    return None
""",
    ),
    (
        "Newton",
        """
def Newton(f, theta0, alpha=1.0, stop_tolerance=1e-10, max_steps=1_000):
    theta = np.array(theta0, dtype=float)
    history = []
    while True:
        value, grad, hessian = f(theta)
        history.append(Step(theta, value, grad))
        if np.linalg.norm(grad) <= stop_tolerance or len(history) > max_steps:
            return theta, history
        values, vectors = np.linalg.eigh(hessian)
        p = -vectors @ (vectors.T @ grad / abs(values))
        t = alpha
        while f(theta + t * p)[0] > value + 0.1 * t * (p @ grad):
            t *= 0.8
        theta = theta + t * p
""",
    ),
    (
        "train",  # no zero_grad of the optimizer; lists; a bar, and prints of its own
        """
@torch.inference_mode()
def train(model, criterion, optimizer, train_dataloader, num_epoch, device):
    model.to(device).train()
    print("training on", device)
    for epoch in range(num_epoch):
        losses, right, sizes = [], [], []
        for i, batch in enumerate(tqdm(train_dataloader)):
            X, targets = batch[0].to(device), batch[1].to(device)
            for p in model.parameters():
                p.grad = None
            outputs = model(X)
            losses.append(criterion(outputs, targets))
            delta = criterion.backward()
            for layer in model[::-1]:
                delta = layer.backward(delta)
            optimizer.step()
            right.append((outputs.max(dim=1).indices == targets.max(dim=1).indices).float().mean())
            sizes.append(X.size(0))
            print(f"Epoch [{epoch + 1}] batch {i}, loss {losses[-1]:.3f}, accuracy {right[-1]:.3f}")
        loss, accuracy = np.average(losses, weights=sizes), np.average(right, weights=sizes)
        print(f"\\nEpoch [{epoch + 1}/{num_epoch}] Average training loss: {loss:.6f}, "
              f"Average training accuracy: {round(accuracy, 4)}, lr 0.01")
    return model
""",
    ),
    (
        "train",  # all outputs of an epoch together, and a pass over the loader before it
        """
def train(model, criterion, optimizer, train_dataloader, num_epoch, device):
    N = sum(len(X) for X, _ in train_dataloader)
    for k in range(1, num_epoch + 1):
        Ys, Ts = [], []
        for X, T in train_dataloader:
            model.train()
            Y = model(X)
            loss = criterion(Y, T)
            delta = criterion.backward()
            for i in range(len(model) - 1, -1, -1):
                delta = model[i].backward(delta)
            optimizer.step()
            model.zero_grad()
            Ys.append(Y)
            Ts.append(T)
        model.eval()
        Y, T = torch.cat(Ys), torch.cat(Ts)
        right = (Y.argmax(-1) == T.argmax(-1)).sum() / N
        print("Epoch [%d] Average training loss: %.4f, Average training accuracy: %.4f" % (k, criterion(Y, T), right))
    return model
""",
    ),
    (
        "test",  # all batches at once, a tensor is returned
        """
@torch.inference_mode()
def test(model, test_dataloader, device, criterion=None):
    was_training = model.training
    model.train(False)
    X, T = (torch.cat(parts) for parts in zip(*test_dataloader))
    accuracy = (model(X).argmax(1) == T.argmax(1)).float().mean()
    print(f"The test accuracy is: {accuracy:.5f} ({100 * accuracy:.1f}%)")
    model.train(was_training)
    return accuracy
""",
    ),
    (
        "SimpleMLP",  # functional, one ReLU in place
        """
class SimpleMLP(nn.Module):
    def __init__(self, input_dim, hidden_dim, output_dim, num_hidden_layers=1, last_layer_activation_fn=None):
        super(SimpleMLP, self).__init__()
        sizes = [input_dim] + num_hidden_layers * [hidden_dim] + [output_dim]
        self.layers = nn.ModuleList()
        for a, b in zip(sizes, sizes[1:]):
            self.layers.append(nn.Linear(a, b))
        self.relu, self.last = nn.ReLU(inplace=True), last_layer_activation_fn

    def forward(self, X):
        for layer in self.layers[:-1]:
            X = self.relu(layer(X))
        X = self.layers[-1].forward(X)
        if self.last:
            X = self.last()(X) if isinstance(self.last, type) else self.last(X)
        return X
""",
    ),
    (
        "SimpleMLP",  # lazy layers in a subclass of Sequential
        """
class SimpleMLP(nn.Sequential):
    def __init__(self, input_dim, hidden_dim, output_dim, num_hidden_layers=1, last_layer_activation_fn=None):
        super().__init__()
        for i in range(num_hidden_layers):
            self.add_module(f"fc{i}", nn.LazyLinear(hidden_dim))
            self.add_module(f"relu{i}", nn.ReLU())
        self.append(nn.LazyLinear(output_dim))
        if last_layer_activation_fn is not None:
            try:
                self.append(last_layer_activation_fn())
            except TypeError:
                self.append(last_layer_activation_fn)
""",
    ),
    (
        "SimpleMLPTrainer",  # an outer bar tells the loss; both squeezed; evaluates while it trains
        """
class SimpleMLPTrainer:
    def __init__(self, model, criterion, optimizer):
        self.model, self.criterion, self.optimizer = model, criterion, optimizer
        self.device = next(model.parameters()).device

    def train(self, train_loader, num_epochs):
        self.losses = []
        bar = tqdm(range(num_epochs))
        for _ in bar:
            self.model.train()
            total = torch.tensor(0.0)
            for X, targets in train_loader:
                self.model.zero_grad()
                outputs = self.model.forward(X.to(self.device)).squeeze(1)
                loss = self.criterion(input=outputs, target=targets.squeeze(1))
                loss.backward()
                self.optimizer.step()
                total += loss.detach() * len(X)
            self.losses.append((total / len(train_loader.dataset)).item())
            bar.set_postfix(loss=self.losses[-1])
            self.evaluate(train_loader)
        return self.losses

    @torch.inference_mode()
    def evaluate(self, val_loader):
        self.model.eval()
        X, targets = (torch.cat(parts) for parts in zip(*val_loader))
        outputs = self.model(X)
        right = (outputs.round() == targets).float().mean()
        return [self.criterion(outputs, targets), 100 * right]
""",
    ),
    (
        "loss_setting",  # classes, functions, two outputs wherever it can be
        """
def loss_setting(loss):
    def one_hot(t):
        return torch.stack([t == 0, t == 1], dim=1).float()

    if loss in ("L1Loss", "MSELoss"):
        return 2, torch.sigmoid, one_hot
    if loss == "BCEWithLogitsLoss":
        return [2, nn.Identity(), one_hot]
    if loss == "NLLLoss":
        return 2, nn.LogSoftmax(dim=-1), lambda t: t.long()
    if loss == "CrossEntropyLoss":
        return 2, None, one_hot
    if loss == "KLDivLoss":
        return 2, nn.functional.log_softmax, one_hot
    return 2, nn.Tanh, lambda t: torch.where(one_hot(t) == 1, 1, -1)
""",
    ),
    (
        "FCLayer",  # gradients that start at 0 and survive p.grad = None; a second name; what backward needs is popped
        """
class FCLayer(Layer):
    def __init__(self, num_input, num_output):
        super().__init__()
        self.weight = self.W = nn.Parameter(nn.init.xavier_normal_(torch.empty(num_input, num_output)))
        self.b = nn.Parameter(torch.zeros(1, num_output))
        self.W.grad, self.b.grad = torch.zeros_like(self.W), torch.zeros_like(self.b)
        self.seen = []

    @torch.no_grad()
    def forward(self, X):
        self.seen.append(X)
        return torch.einsum("nd,dk->nk", X, self.weight) + self.b

    @torch.no_grad()
    def backward(self, delta):
        for p, gradient in (self.weight, self.seen.pop().T @ delta), (self.b, delta.sum(0)):
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            p.grad += gradient
        return torch.einsum("nk,dk->nd", delta, self.weight)
""",
    ),
    (
        "ReLULayer",  # a decorator of one's own, put on later
        """
from functools import wraps

def remember(method):
    @wraps(method)
    def remembering(self, X):
        self.X = X
        return method(self, X)
    return remembering

class ReLULayer(Layer):
    def forward(self, X):
        return X.clamp(min=0)

    def backward(self, delta):
        return torch.where(self.X > 0, delta, torch.zeros_like(delta))

ReLULayer.forward = remember(ReLULayer.forward)
""",
    ),
    (
        "SigmoidLayer",  # a base with only a backward
        """
class Elementwise(Layer):
    def backward(self, delta):
        return delta * self.derivative

class SigmoidLayer(Elementwise):
    def forward(self, X):
        Y = torch.sigmoid(X)
        self.derivative = Y * (1 - Y)
        return Y
""",
    ),
    (
        "LeakyReLULayer",  # the slope in a buffer
        """
class LeakyReLULayer(Layer):
    def __init__(self, negative_slope=0.01):
        super().__init__()
        self.register_buffer("slope", torch.tensor([negative_slope]))

    def forward(self, X):
        self.Y = torch.maximum(X, self.slope * X)
        return self.Y

    def backward(self, delta):
        return torch.where(self.Y > 0, delta, self.slope * delta)
""",
    ),
    (
        "DropoutLayer",  # NumPy's random numbers; nothing kept in eval mode
        """
class DropoutLayer(Layer):
    def __init__(self, dropout_rate):
        super().__init__()
        self.keep = 1 - dropout_rate

    def forward(self, X):
        if not self.training:
            return X
        self.mask = torch.tensor(np.random.binomial(1, self.keep, size=tuple(X.shape)), dtype=X.dtype)
        return X * self.mask / self.keep

    def backward(self, delta):
        return delta * self.mask / self.keep if self.training else delta
""",
    ),
    (
        "MeanOnlyBatchNormLayer",  # running_mean as a plain attribute, changed in place, with what autograd knows of mu
        """
class MeanOnlyBatchNormLayer(Layer):
    def __init__(self, num_features):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, num_features))
        self.beta = nn.Parameter(torch.zeros(1, num_features))
        self.running_mean = torch.zeros(1, num_features)

    def forward(self, X):
        mu = X.mean(0, keepdim=True) if self.training else self.running_mean
        if self.training:
            self.running_mean.lerp_(mu, 0.1)
        self.centred = X - mu
        return torch.addcmul(self.beta, self.gamma, self.centred)

    def backward(self, delta):
        add_grad(self.gamma, (delta * self.centred).sum(0, keepdim=True))
        add_grad(self.beta, delta.sum(0, keepdim=True))
        dX = delta * self.gamma
        return dX - dX.mean(0) if self.training else dX
""",
    ),
    (
        "CrossEntropyLoss",  # shape (1,); backward works in place, once
        """
class CrossEntropyLoss(Loss):
    def forward(self, outputs, targets):
        self.targets = targets
        log_yh = outputs - outputs.logsumexp(1, keepdim=True)
        self.yh = log_yh.exp()
        if targets.dim() == 1:
            return -log_yh.gather(1, targets[:, None]).mean().reshape(1)
        return -(targets * log_yh).sum().reshape(1) / len(outputs)

    def backward(self):
        if self.targets.dim() == 1:
            self.yh[range(len(self.yh)), self.targets] -= 1
        else:
            self.yh -= self.targets
        self.yh /= len(self.yh)
        return self.yh
""",
    ),
    (
        "plot_decision_boundary",
        """
def plot_decision_boundary(model, X, y, alpha, X_test=None, y_test=None):
    from sklearn.inspection import DecisionBoundaryDisplay
    shown = DecisionBoundaryDisplay.from_estimator(model, X, alpha=0.5)
    shown.ax_.scatter(X[:, 0], X[:, 1], c=y, edgecolor="k")
    shown.ax_.set_title(f"alpha = {alpha:.3g}")
    shown.figure_.canvas.draw()
    return Image.fromarray(np.asarray(shown.figure_.canvas.buffer_rgba()))
""",
    ),
    (
        "plot_decision_boundary",
        """
def plot_decision_boundary(model, X, y, alpha, X_test=None, y_test=None):
    import matplotlib.pyplot as plt
    grid = np.random.default_rng(0).uniform(X.min(0) - 1, X.max(0) + 1, (5000, 2))
    plt.scatter(*grid.T, c=model.predict(grid), s=8, cmap="coolwarm", alpha=0.3)
    for k, marker in enumerate("os"):
        plt.scatter(*X[y == k].T, marker=marker, label=f"class {k}")
        if X_test is not None:
            plt.scatter(*X_test[y_test == k].T, marker="x")
    plt.legend(loc="upper right")
    plt.title(rf"$\\alpha = {alpha}$")
    plt.savefig("boundary.png", bbox_inches="tight")
    plt.show()
    return Image.open("boundary.png")
""",
    ),
    (
        "create_decision_boundary_gif",
        """
def create_decision_boundary_gif(alphas, X_train, y_train, n_neurons, X_test=None, y_test=None, filename="a.gif"):
    import matplotlib.pyplot as plt
    from matplotlib.animation import FuncAnimation, PillowWriter
    from sklearn.inspection import DecisionBoundaryDisplay
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fig, ax = plt.subplots(figsize=(3, 3))

    def update(k):
        ax.clear()
        model = make_pipeline(StandardScaler(), MLPClassifier(n_neurons, alpha=alphas[k]))
        DecisionBoundaryDisplay.from_estimator(model.fit(X_train, y_train), X_train, ax=ax, alpha=0.6)

    FuncAnimation(fig, update, frames=len(alphas)).save(filename, writer=PillowWriter(fps=2))
""",
    ),
]
