// Orders that look as if somebody else will have to pay for them: a listener that tells of them.
// How many orders a customer had it keeps by key, so it needs the right to `host.keys`.

import { Answer, Json, Level, emit, error, keep, kept, log, nothing, ok, serve } from "./aegis";
export { cabi_post_invoke, cabi_realloc, describe, invoke } from "./aegis";

const SUSPECT = 60;

serve(
  `{
    "name": "fraud",
    "version": "1.0.0",
    "doc": "Tells of orders that look like fraud.",
    "emits": ["fraud.suspected"],
    "listeners": {
      "score": {"on": ["order.created"], "retries": 1, "doc": "Scores an order from 0 to 100."}
    }
  }`,
  (name: string, input: Json): Answer => {
    if (name != "score") return error(`there is no ${name} in it`);
    return score(input.get("event"));
  },
);

function score(event: Json): Answer {
  const order = event.get("data").get("changed");
  const items = order.get("items").items;
  if (items.length == 0) return error("an order without items cannot be scored");
  let total: f64 = 0, most: f64 = 0;
  for (let n = 0; n < items.length; n++) {
    const price = items[n].get("price").number, qty = items[n].get("qty").number;
    if (isNaN(price) || isNaN(qty)) return error(`item ${n + 1} has no price and quantity`);
    total += price * qty;
    most = max(most, qty);
  }
  let points = 0;
  if (total > 1000) points += 40;
  if (most > 5) points += 30;
  const customer = order.get("customer_id");
  if (customer.isNull) {
    points += 30;
  } else {
    const before = counted(customer.text);
    if (before.failed) return before;
    if (parseInt(before.text) > 1) points += 20;
  }
  const id = event.get("subject").text;
  log(Level.Debug, `order ${id} scores ${points}`);
  return points < SUSPECT ? nothing() : suspected(id, points);
}

/** How many orders a customer had before this one, which counts from now on. */
function counted(customer: string): Answer {
  const known = kept(`orders of ${customer}`);
  if (known.failed) return known;
  const count = Json.parse(known.text);
  const before = count.isNull ? 0 : <i32>count.number;
  const told = keep(`orders of ${customer}`, `${before + 1}`);
  return told.failed ? told : ok(`${before}`);
}

function suspected(order: string, points: i32): Answer {
  const told = emit("fraud.suspected", `{"score": ${points}}`, order);
  return told.failed ? told : nothing();
}
