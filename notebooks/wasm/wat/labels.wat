;; Labels, printed as soon as there are any: a model by hand, with nothing between it and the host.
;;
;; A plain module passes texts through its memory. Each is an address and a length; what it gives
;; is both in one i64, the address above the length, and bit 31 says that it is an error.
(module
  (memory (export "memory") 2)

  ;; Where its texts are.
  (data (i32.const 16) "{\"record\": {\"status\": \"PRINTED\"}}")
  (data (i32.const 64) "{\"refused\": \"a label that is printed stays printed\"}")
  (data (i32.const 128) "there is no such function in it")
  (data (i32.const 1024)
    "{"
    "\"name\": \"labels\","
    "\"version\": \"1.0.0\","
    "\"doc\": \"Labels, printed as soon as there are any.\","
    "\"models\": {\"Label\": {"
    "  \"endpoint\": \"labels\","
    "  \"fields\": {"
    "    \"order_id\": {\"type\": \"string\", \"frozen\": true},"
    "    \"status\": {\"enum\": [\"NEW\", \"PRINTED\"], \"default\": \"NEW\"}"
    "  },"
    "  \"ports\": {\"print\": {\"consumes\": [\"label.created\"], \"produces\": \"label.printed\"}},"
    "  \"commands\": {\"void\": {\"doc\": \"Is always refused.\"}}"
    "}}"
    "}")

  ;; Memory for what the host writes: there is one call at a time, so each begins anew.
  (global $begin i32 (i32.const 65536))
  (global $free (mut i32) (i32.const 65536))
  (func (export "aegis_alloc") (param $size i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))
  (func (export "aegis_free") (param i32 i32)
    (global.set $free (global.get $begin)))

  (func (export "aegis_describe") (result i64)
    (call $text (i32.const 1024)))

  ;; Its functions have names of different lengths, so there is nothing more to compare.
  (func (export "aegis_invoke")
    (param $name i32) (param $size i32) (param i32 i32) (result i64)
    (if (i32.eq (local.get $size) (i32.const 11)) ;; Label.print
      (then (return (call $text (i32.const 16)))))
    (if (i32.eq (local.get $size) (i32.const 10)) ;; Label.void
      (then (return (call $error (i32.const 64)))))
    (call $error (i32.const 128)))

  ;; A text, which goes on to the first zero.
  (func $text (param $at i32) (result i64)
    (local $end i32)
    (local.set $end (local.get $at))
    (loop $next
      (if (i32.load8_u (local.get $end))
        (then
          (local.set $end (i32.add (local.get $end) (i32.const 1)))
          (br $next))))
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
      (i64.extend_i32_u (i32.sub (local.get $end) (local.get $at)))))
  (func $error (param $at i32) (result i64)
    (i64.or (call $text (local.get $at)) (i64.const 0x80000000)))
)
