"""What a short text in WAT may call without saying it: functions on texts, as WAT has them.

A text is one i64: its address above, its length in bytes below.
"""

from __future__ import annotations

from collections.abc import Mapping

# In front of the names of what only the module itself needs.
OWN = "aegis_"

# Memory for texts: it begins behind those of the module, and begins anew when a call has ended.
MEMORY = """
(global $aegis_top (mut i32) (i32.const {begin}))
(func $alloc (export "aegis_alloc") (param $size i32) (result i32)
  (local $at i32)
  (local.set $at (global.get $aegis_top))
  (global.set $aegis_top (i32.add (local.get $at)
    (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
  (if (i64.gt_u (i64.extend_i32_u (global.get $aegis_top))
                (i64.mul (i64.extend_i32_u (memory.size)) (i64.const 65536)))
    (then (if (i32.eq (i32.const -1)
        (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16)))))
      (then unreachable))))
  (local.get $at))
(func (export "aegis_free") (param i32 i32) (global.set $aegis_top (i32.const {begin})))
"""

# Each with what else of these it calls.
FUNCTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "text": (
        """
(func $text (param $at i32) (param $length i32) (result i64)
  (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
          (i64.extend_i32_u (local.get $length))))
""",
        (),
    ),
    "at": (
        """
(func $at (param $text i64) (result i32)
  (i32.wrap_i64 (i64.shr_u (local.get $text) (i64.const 32))))
""",
        (),
    ),
    "length": (
        """
(func $length (param $text i64) (result i32)
  (i32.and (i32.wrap_i64 (local.get $text)) (i32.const 0x7fffffff)))
""",
        (),
    ),
    "failed": (
        """
(func $failed (param $text i64) (result i64)
  (i64.or (local.get $text) (i64.const 0x80000000)))
""",
        (),
    ),
    "equals": (
        """
(func $equals (param $a i64) (param $b i64) (result i32)
  (local $i i32)
  (if (i32.ne (call $length (local.get $a)) (call $length (local.get $b)))
    (then (return (i32.const 0))))
  (block $end (loop $next
    (br_if $end (i32.eq (local.get $i) (call $length (local.get $a))))
    (if (i32.ne (i32.load8_u (i32.add (call $at (local.get $a)) (local.get $i)))
                (i32.load8_u (i32.add (call $at (local.get $b)) (local.get $i))))
      (then (return (i32.const 0))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))
  (i32.const 1))
""",
        ("at", "length"),
    ),
    "join": (
        """
(func $join (param $a i64) (param $b i64) (result i64)
  (local $at i32)
  (local.set $at (call $alloc
    (i32.add (call $length (local.get $a)) (call $length (local.get $b)))))
  (memory.copy (local.get $at) (call $at (local.get $a)) (call $length (local.get $a)))
  (memory.copy (i32.add (local.get $at) (call $length (local.get $a)))
    (call $at (local.get $b)) (call $length (local.get $b)))
  (call $text (local.get $at)
    (i32.add (call $length (local.get $a)) (call $length (local.get $b)))))
""",
        ("at", "length", "text"),
    ),
    "digits": (
        """
(func $digits (param $number i64) (result i64)
  (local $end i32) (local $at i32) (local $rest i64)
  (local.set $end (i32.add (call $alloc (i32.const 24)) (i32.const 24)))
  (local.set $at (local.get $end))
  (local.set $rest (local.get $number))
  (if (i64.lt_s (local.get $number) (i64.const 0))
    (then (local.set $rest (i64.sub (i64.const 0) (local.get $number)))))
  (loop $next
    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
    (i32.store8 (local.get $at)
      (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $rest) (i64.const 10)))))
    (local.set $rest (i64.div_u (local.get $rest) (i64.const 10)))
    (br_if $next (i64.ne (local.get $rest) (i64.const 0))))
  (if (i64.lt_s (local.get $number) (i64.const 0)) (then
    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
    (i32.store8 (local.get $at) (i32.const 45))))
  (call $text (local.get $at) (i32.sub (local.get $end) (local.get $at))))
""",
        ("text",),
    ),
    "number": (
        """
(func $number (param $json i64) (param $key i64) (result i64)
  (local $at i32) (local $end i32) (local $sign i64) (local $found i64) (local $digit i32)
  (local.set $at (call $aegis_value (local.get $json) (local.get $key)))
  (if (i32.eqz (local.get $at)) (then (return (i64.const 0))))
  (local.set $end (i32.add (call $at (local.get $json)) (call $length (local.get $json))))
  (local.set $sign (i64.const 1))
  (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 34))  ;; a decimal is in quotes
    (then (local.set $at (i32.add (local.get $at) (i32.const 1)))))
  (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 45)) (then
    (local.set $sign (i64.const -1))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
    (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
    (br_if $done (i32.gt_u (local.get $digit) (i32.const 9)))
    (local.set $found (i64.add (i64.mul (local.get $found) (i64.const 10))
                               (i64.extend_i32_u (local.get $digit))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $next)))
  (i64.mul (local.get $sign) (local.get $found)))
""",
        ("aegis_value", "at", "length"),
    ),
    "string": (
        """
(func $string (param $json i64) (param $key i64) (result i64)
  (local $at i32) (local $end i32) (local $begin i32)
  (local.set $at (call $aegis_value (local.get $json) (local.get $key)))
  (if (i32.eqz (local.get $at)) (then (return (i64.const 0))))
  (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 34)) (then (return (i64.const 0))))
  (local.set $at (i32.add (local.get $at) (i32.const 1)))
  (local.set $begin (local.get $at))
  (local.set $end (i32.add (call $at (local.get $json)) (call $length (local.get $json))))
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
    (br_if $done (i32.eq (i32.load8_u (local.get $at)) (i32.const 34)))
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 92))  ;; what follows is no end
      (then (local.set $at (i32.add (local.get $at) (i32.const 1)))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $next)))
  (call $text (local.get $begin) (i32.sub (local.get $at) (local.get $begin))))
""",
        ("aegis_value", "at", "length", "text"),
    ),
    "aegis_value": (
        """
(func $aegis_value (param $json i64) (param $key i64) (result i32)
  (local $at i32) (local $last i32) (local $long i32)
  (local.set $at (call $at (local.get $json)))
  (local.set $long (call $length (local.get $key)))
  (local.set $last (i32.sub (i32.add (local.get $at) (call $length (local.get $json)))
                            (i32.add (local.get $long) (i32.const 4))))
  (block $none (loop $next
    (br_if $none (i32.gt_s (local.get $at) (local.get $last)))
    (if (i32.and
          (i32.eq (i32.load8_u (local.get $at)) (i32.const 34))
          (i32.eq (i32.load16_u offset=1 (i32.add (local.get $at) (local.get $long)))
                  (i32.const 0x3a22)))
      (then (if (call $equals (local.get $key)
                  (call $text (i32.add (local.get $at) (i32.const 1)) (local.get $long)))
        (then (return (i32.add (local.get $at) (i32.add (local.get $long) (i32.const 3))))))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $next)))
  (i32.const 0))
""",
        ("at", "equals", "length", "text"),
    ),
}
