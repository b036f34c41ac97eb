"use strict";
// The filters: everything that is of another feed or destination hides, and so does what is of all of them.
const [feed, destination] = ["feed", "destination"].map((name) => document.getElementById(name));
const clear = document.getElementById("clear");
const said = document.getElementById("said");

function fits(element) {
  const { feed: ofFeed, destination: ofDestination } = element.dataset;
  if (feed.value && (ofFeed ?? feed.value) !== feed.value) return false;
  return !destination.value || (ofDestination ?? destination.value) === destination.value;
}

function choose() {
  const chosen = Boolean(feed.value || destination.value);
  for (const element of document.querySelectorAll("[data-feed], [data-destination]")) element.hidden = !fits(element);
  for (const element of document.querySelectorAll("[data-of-all]")) element.hidden = chosen;
  for (const element of document.querySelectorAll("[data-of-feeds]")) {
    element.hidden = Boolean(feed.value) || element.dataset.destination !== destination.value;
  }
  for (const section of document.querySelectorAll("section")) {
    const all = [...section.querySelectorAll("figure, article, tbody > tr")];
    const nothing = section.querySelector(".nothing");
    if (nothing) nothing.hidden = all.some((element) => !element.closest("[hidden]"));
  }
  clear.hidden = !chosen;
  const parts = [feed.value && `feed ${feed.value}`, destination.value && `destination ${destination.value}`];
  said.textContent = chosen ? `Shown: ${parts.filter(Boolean).join(", ")}` : "";
}

feed.addEventListener("change", choose);
destination.addEventListener("change", choose);
clear.addEventListener("click", () => {
  feed.value = destination.value = "";
  choose();
  feed.focus();
});
document.getElementById("filters").hidden = feed.options.length + destination.options.length < 5;
