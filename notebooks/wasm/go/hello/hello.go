// Greets guests: a model with a command, an adapter with a configuration value, and a listener.
package main

import (
	"encoding/json"
	"errors"

	"samples/aegis"
)

// Guest is who is greeted.
type Guest struct {
	Name string `json:"name"`
}

var text = aegis.Schema{"type": "string"}

func init() {
	aegis.Serve(aegis.Component{
		Name:    "hello",
		Version: "1.0.0",
		Doc:     "Greets guests.",
		Emits:   []string{"guest.greeted"},
		Protocols: map[string]aegis.Protocol{
			"Greeter": {"greet": {Takes: aegis.Fields{aegis.Field("who", text)}, Gives: text}},
		},
		Models: map[string]aegis.Model{"Guest": {
			Endpoint: "guests",
			Fields: aegis.Fields{
				aegis.Field("name", text),
				aegis.Field("greeting", aegis.Schema{"type": []string{"string", "null"}, "default": nil}),
			},
			Commands: map[string]aegis.Command{
				"greet": {Uses: aegis.Uses{"greeter": "Greeter"}, Run: aegis.Of(greet)},
			},
		}},
		Adapters: map[string]aegis.Part{"Polite": {
			Does: []string{"Greeter"},
			Config: aegis.Fields{
				aegis.Field("hello.word", aegis.Schema{"type": "string", "default": "Hello"}),
			},
			Methods: map[string]aegis.Run{"greet": polite},
		}},
		Listeners: map[string]aegis.Listener{
			"welcome": {On: []string{"guest.greeted"}, Run: welcome},
		},
	})
}

func main() {}

func greet(guest Guest, _ aegis.Call) (any, error) {
	var greeting string
	if err := aegis.Ask("greeter.greet", map[string]string{"who": guest.Name}, &greeting); err != nil {
		return nil, err
	}
	change := aegis.Changed{"greeting": greeting}
	return change, aegis.Emit("guest.greeted", "", change)
}

func polite(call aegis.Call) (any, error) {
	var asked struct{ Who string }
	if err := json.Unmarshal(call.Arguments, &asked); err != nil {
		return nil, err
	}
	switch asked.Who {
	case "":
		return nil, aegis.Refused{Why: "nobody is called so", Emit: &aegis.Told{Name: "guest.unknown"}}
	case "?":
		return nil, errors.New("say who it is")
	}
	var word string
	err := aegis.Config("hello.word", &word)
	return word + ", " + asked.Who + "!", err
}

func welcome(call aegis.Call) (any, error) {
	greeting, err := call.Event.Text("greeting")
	if err == nil {
		aegis.Log(aegis.Info, "said "+greeting)
	}
	return nil, err
}
