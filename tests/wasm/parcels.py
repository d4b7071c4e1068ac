"""A short component in WebAssembly text, as a cell has it: what a parcel costs by its weight."""

PARCELS = """
;; [models.Parcel]
;; doc = "What is sent."
;; endpoint = "parcels"
;; fields.grams = {type = "integer"}
;; fields.note = {type = "string", default = "", private = true}
;; fields.price = {type = "integer", default = 0}
;; ports.weigh = {consumes = ["parcel.created"], produces = "parcel.weighed", retries = 0}
;; commands.again = {}
;; [texts]
;; grams = "grams"
;; priced = '{"record": {"price": '
;; end = "}}"

(func $Parcel.weigh (param $input i64) (result i64)
  (call $join (global.get $priced)
    (call $join (call $digits (call $price (local.get $input))) (global.get $end))))

(func $price (param $input i64) (result i64)
  (i64.div_s (i64.const 7000) (call $number (local.get $input) (global.get $grams))))

(func $Parcel.again (param $input i64) (result i64)
  (call $Parcel.weigh (local.get $input)))
"""


def parcels(line: str = "parcels 1.0.0", *changes: tuple[str, str]) -> str:
    """The cell, with its first line and with some texts in the place of others."""
    text = PARCELS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return f"%%wat {line}{text}"
