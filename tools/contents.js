// The list of pages stands open beside a page, and closed above it where the window is narrow.
const list = document.querySelector(".contents");
const wide = matchMedia("(min-width: 64rem)");
const fit = () => list.querySelector("details").open = wide.matches;
fit();
wide.addEventListener("change", fit);
list.addEventListener("click", event => event.target.closest("a") && fit());
list.scrollTop = list.querySelector("[aria-current]").offsetTop - list.clientHeight / 3;

// The search reads an index that lies on the site, which a browser allows if a server sends the page.
const form = list.querySelector("form"), [words, found] = form.children;
form.hidden = !location.protocol.startsWith("http");
form.addEventListener("submit", event => event.preventDefault());
const index = new URL("pagefind/pagefind.js", document.currentScript.src);
words.addEventListener("input", async () => {
  const search = await (await import(index)).debouncedSearch(words.value);
  if (!search) return; // typed on
  const pages = await Promise.all(search.results.slice(0, 6).map(result => result.data()));
  const parts = pages.flatMap(page => page.sub_results.slice(0, 3));
  found.replaceChildren(...parts.map(part => {
    const item = document.createElement("li"), link = document.createElement("a"), text = document.createElement("p");
    [link.href, link.textContent, text.innerHTML] = [part.url, part.title, part.excerpt];
    item.append(link, text);
    return item;
  }));
  if (words.value && !parts.length) found.innerHTML = "<li>Nothing found.</li>";
});
