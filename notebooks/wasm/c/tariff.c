/* What a parcel costs: an adapter that any port may be bound to which asks for a fee. */

#include "aegis.h"

static const char description[] = {
#embed "tariff.json"
};

aegis_text aegis_describe(void) { return (aegis_text){description, sizeof description}; }

/* Cents of the configuration. */
static bool cents(const char *key, int *value) {
    aegis_result given = aegis_config(key);
    return !given.failed && aegis_number(given.text, value);
}

static aegis_result fee(aegis_text arguments) {
    int grams, begin, kilo;
    if (!aegis_number(aegis_get(arguments, "grams"), &grams) || grams <= 0)
        return aegis_refused("a parcel weighs more than nothing, and less than a ship", NULL);
    if (!cents("tariff.begin", &begin) || !cents("tariff.kilo", &kilo))
        return aegis_error(AEGIS_TEXT("tariff.begin and tariff.kilo are whole cents"));
    int64_t price = begin + (int64_t)kilo * ((grams + 999) / 1000);
    aegis_result home = aegis_config("tariff.home");
    aegis_text country = aegis_string(aegis_get(arguments, "country"));
    if (!aegis_same(country, aegis_string(home.text))) price *= 2;
    if (price > 99999999) return aegis_refused("no parcel is so dear", NULL);
    int euros = (int)(price / 100), rest = (int)(price % 100);
    return aegis_ok(aegis_print("\"%d.%s%d\"", euros, rest < 10 ? "0" : "", rest));
}

aegis_result aegis_invoke(aegis_text name, aegis_text input) {
    if (aegis_is(name, "ByWeight.fee")) return fee(aegis_get(input, "arguments"));
    return aegis_error(aegis_print("there is no %t in it", name));
}
