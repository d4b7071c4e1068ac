/* What a component in C needs of Aegis. Copy it beside yours; it has no dependencies, not even a C
 * library.
 *
 * Write two functions:
 *
 *     aegis_text   aegis_describe(void);
 *     aegis_result aegis_invoke(aegis_text name, aegis_text input);
 *
 * and call the host by `aegis_log`, `aegis_config`, `aegis_emit` and `aegis_call`. JSON is read by
 * `aegis_get` and written by `aegis_print`. Memory is an arena: what is allocated during a call is
 * gone when the call has been answered, so there is nothing to free and nothing to leak.
 *
 * What passes a text from one side to the other is the canonical ABI of the Component Model, by
 * hand, at the end of this file; a generator of bindings writes the same.
 */
#ifndef AEGIS_H
#define AEGIS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A text: UTF-8, and not ended by a zero. */
typedef struct {
    const char *at;
    size_t size;
} aegis_text;

/* What a call gives, and whether that is an error. */
typedef struct {
    bool failed;
    aegis_text text;
} aegis_result;

enum aegis_level { AEGIS_DEBUG, AEGIS_INFO, AEGIS_WARNING, AEGIS_ERROR };

#define AEGIS_TEXT(literal) ((aegis_text){(literal), sizeof(literal) - 1})

/* --- memory and texts -------------------------------------------------------------------------- */

extern unsigned char __heap_base;
static uintptr_t aegis_top;

static inline void *aegis_alloc(size_t size, size_t align) {
    if (aegis_top == 0) aegis_top = (uintptr_t)&__heap_base;
    uintptr_t place = (aegis_top + align - 1) & ~(uintptr_t)(align - 1);
    uintptr_t end = place + size, there = __builtin_wasm_memory_size(0) << 16;
    if (end < place) __builtin_trap();
    if (end > there && __builtin_wasm_memory_grow(0, (end - there + 65535) >> 16) == (size_t)-1)
        __builtin_trap(); /* the host gives no more */
    aegis_top = end;
    return (void *)place;
}

static inline bool aegis_same(aegis_text one, aegis_text other) {
    size_t n = 0;
    while (n < one.size && n < other.size && one.at[n] == other.at[n]) n++;
    return n == one.size && n == other.size;
}

static inline bool aegis_is(aegis_text text, const char *other) {
    size_t size = 0;
    while (other[size] != 0) size++;
    return aegis_same(text, (aegis_text){other, size});
}

/* A text of a format that knows %s (a char *), %t (an aegis_text), %d (an int) and %%. */
static inline aegis_text aegis_print(const char *format, ...) {
    va_list given;
    va_start(given, format);
    char *begin = aegis_alloc(0, 1), digits[12];
    for (const char *next = format; *next != 0; next++) {
        aegis_text part = {next, 1};
        if (*next == '%') {
            next++;
            if (*next == 't') {
                part = va_arg(given, aegis_text);
            } else if (*next == 's') {
                part.at = va_arg(given, const char *);
                for (part.size = 0; part.at[part.size] != 0; part.size++) {}
            } else if (*next == 'd') {
                int number = va_arg(given, int), n = 12;
                unsigned rest = number < 0 ? -(unsigned)number : (unsigned)number;
                do digits[--n] = (char)('0' + rest % 10); while ((rest /= 10) != 0);
                if (number < 0) digits[--n] = '-';
                part = (aegis_text){digits + n, (size_t)(12 - n)};
            }
        }
        char *place = aegis_alloc(part.size, 1);
        for (size_t n = 0; n < part.size; n++) place[n] = part.at[n];
    }
    va_end(given);
    return (aegis_text){begin, (size_t)((char *)aegis_top - begin)};
}

static inline aegis_result aegis_ok(aegis_text text) { return (aegis_result){false, text}; }
static inline aegis_result aegis_error(aegis_text text) { return (aegis_result){true, text}; }

/* What ends a step for good; `emit` is {"name": ...} of an event to publish, or NULL. */
static inline aegis_result aegis_refused(const char *why, const char *emit) {
    if (emit == NULL) return aegis_error(aegis_print("{\"refused\": \"%s\"}", why));
    return aegis_error(aegis_print("{\"refused\": \"%s\", \"emit\": %s}", why, emit));
}

/* --- reading JSON: the host gives nothing that is none ------------------------------------------- */

/* Where a value ends that begins at `at`. */
static inline const char *aegis_skip(const char *at, const char *end) {
    int depth = 0;
    for (; at < end; at++) {
        if (*at == '"') {
            for (at++; at < end && *at != '"'; at++) at += *at == '\\';
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            if (depth == 0) return at;
            depth--;
        } else if (*at == ',' && depth == 0) {
            return at;
        }
    }
    return end;
}

/* A field of an object, as JSON; empty where there is none. */
static inline aegis_text aegis_get(aegis_text object, const char *name) {
    const char *at = object.at + 1, *end = object.at + object.size;
    while (at < end && *at == '"') {
        aegis_text key = {++at, 0};
        while (at < end && *at != '"') at += 1 + (*at == '\\');
        key.size = (size_t)(at - key.at);
        aegis_text value = {at + 2, 0}; /* behind `":` */
        at = aegis_skip(value.at, end);
        value.size = (size_t)(at - value.at);
        if (aegis_is(key, name)) return value;
        at++;
    }
    return (aegis_text){object.at, 0};
}

/* A text of JSON without its quotes; what is escaped in it stays so. */
static inline aegis_text aegis_string(aegis_text json) {
    if (json.size < 2 || json.at[0] != '"') return (aegis_text){json.at, 0};
    return (aegis_text){json.at + 1, json.size - 2};
}

/* A whole number of JSON; false where it is none, or has more than nine digits. */
static inline bool aegis_number(aegis_text json, int *number) {
    bool is_negative = json.size > 0 && json.at[0] == '-';
    if (json.size == is_negative || json.size > 9 + is_negative) return false;
    *number = 0;
    for (size_t n = is_negative; n < json.size; n++) {
        if (json.at[n] < '0' || json.at[n] > '9') return false;
        *number = *number * 10 + (json.at[n] - '0');
    }
    if (is_negative) *number = -*number;
    return true;
}

/* --- the canonical ABI, by hand ------------------------------------------------------------------ */

#define AEGIS_HOST(name)                                                                            \
    __attribute__((import_module("aegis:component/host@0.1.0"), import_name(name)))
#define AEGIS_EXPORT(name) __attribute__((export_name(name)))

/* A result<string, string> in memory. */
typedef struct {
    uint8_t failed;
    const char *at;
    size_t size;
} aegis_laid;

AEGIS_HOST("log") void aegis_host_log(int level, const char *, size_t);
AEGIS_HOST("config") void aegis_host_config(const char *, size_t, aegis_laid *);
AEGIS_HOST("emit")
void aegis_host_emit(
    const char *, size_t, int has_subject, const char *, size_t, const char *, size_t, aegis_laid *);
AEGIS_HOST("call") void aegis_host_call(const char *, size_t, const char *, size_t, aegis_laid *);

static inline aegis_result aegis_lifted(const aegis_laid *laid) {
    return (aegis_result){laid->failed != 0, {laid->at, laid->size}};
}

/* Write to the host's log. */
static inline void aegis_log(enum aegis_level level, aegis_text message) {
    aegis_host_log(level, message.at, message.size);
}

/* A configuration value of the adapter or service that is being called, as JSON. */
static inline aegis_result aegis_config(const char *key) {
    aegis_text name = aegis_print("%s", key);
    aegis_laid laid;
    aegis_host_config(name.at, name.size, &laid);
    return aegis_lifted(&laid);
}

/* Publish an event when the unit of work under way is committed; without subject of its record. */
static inline aegis_result aegis_emit(aegis_text name, const aegis_text *subject, aegis_text data) {
    aegis_laid laid;
    aegis_host_emit(
        name.at, name.size, subject != NULL, subject == NULL ? NULL : subject->at,
        subject == NULL ? 0 : subject->size, data.at, data.size, &laid);
    return aegis_lifted(&laid);
}

/* Call an adapter (`name.method`) or a relation; its error may be given on as it is. */
static inline aegis_result aegis_call(aegis_text target, aegis_text input) {
    aegis_laid laid;
    aegis_host_call(target.at, target.size, input.at, input.size, &laid);
    return aegis_lifted(&laid);
}

aegis_text aegis_describe(void);
aegis_result aegis_invoke(aegis_text name, aegis_text input);

AEGIS_EXPORT("cabi_realloc")
void *aegis_cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    char *place = aegis_alloc(size, align);
    for (size_t n = 0; n < old_size; n++) place[n] = ((char *)old)[n];
    return place;
}

AEGIS_EXPORT("describe") const aegis_text *aegis_exported_describe(void) {
    static aegis_text text;
    text = aegis_describe();
    return &text;
}

AEGIS_EXPORT("invoke")
const aegis_laid *aegis_exported_invoke(const char *name, size_t name_size, const char *input, size_t size) {
    static aegis_laid laid;
    aegis_result given = aegis_invoke((aegis_text){name, name_size}, (aegis_text){input, size});
    laid = (aegis_laid){given.failed, given.text.at, given.text.size};
    return &laid;
}

/* The answer has been read: all memory of the call is free again. */
AEGIS_EXPORT("cabi_post_invoke") void aegis_post_invoke(const aegis_laid *_) { aegis_top = 0; }
AEGIS_EXPORT("cabi_post_describe") void aegis_post_describe(const aegis_text *_) { aegis_top = 0; }

#endif
