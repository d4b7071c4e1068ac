/* Greets guests: a model with a command, an adapter with a configuration value, and a listener. */

#include "aegis.h"

static const char description[] = {
#embed "hello.json"
};

aegis_text aegis_describe(void) { return (aegis_text){description, sizeof description}; }

static aegis_result greet(aegis_text record) {
    aegis_text name = aegis_get(record, "name"); /* JSON, with its quotes */
    aegis_result greeting = aegis_call(AEGIS_TEXT("greeter.greet"), aegis_print("{\"who\": %t}", name));
    if (greeting.failed) return greeting;
    aegis_text change = aegis_print("{\"greeting\": %t}", greeting.text);
    aegis_result told = aegis_emit(AEGIS_TEXT("guest.greeted"), NULL, change);
    return told.failed ? told : aegis_ok(aegis_print("{\"record\": %t}", change));
}

static aegis_result polite(aegis_text arguments) {
    aegis_text who = aegis_string(aegis_get(arguments, "who"));
    if (who.size == 0) return aegis_refused("nobody is called so", "{\"name\": \"guest.unknown\"}");
    if (aegis_is(who, "?")) return aegis_error(AEGIS_TEXT("say who it is"));
    aegis_result word = aegis_config("hello.word");
    if (word.failed) return word;
    return aegis_ok(aegis_print("\"%t, %t!\"", aegis_string(word.text), who));
}

static aegis_result welcome(aegis_text event) {
    aegis_text greeting = aegis_string(aegis_get(aegis_get(event, "data"), "greeting"));
    aegis_log(AEGIS_INFO, aegis_print("said %t", greeting));
    return aegis_ok(AEGIS_TEXT(""));
}

aegis_result aegis_invoke(aegis_text name, aegis_text input) {
    if (aegis_is(name, "Guest.greet")) return greet(aegis_get(input, "record"));
    if (aegis_is(name, "Polite.greet")) return polite(aegis_get(input, "arguments"));
    if (aegis_is(name, "welcome")) return welcome(aegis_get(input, "event"));
    return aegis_error(aegis_print("there is no %t in it", name));
}
