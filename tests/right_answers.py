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
    "ce-hessian": [r"\operatorname{diag}(\hat y) - \hat y \hat y^T", "diag(yh)-np.outer(yh,yh)"],
    "ce-psd": [r"\frac12\sum_{i,j}\yh_i\yh_j(v_i-v_j)^2", "yh@v**2-(yh@v)**2"],
}
