// Package aegis is what a component in Go needs of Aegis. Copy it beside yours; it has no
// dependencies but the standard library.
//
// A component is its description with the code in it: wherever the contract has something to call
// (a port, its undo, its answer, a command, a listener, a method of an adapter), there is a Run.
//
//	func init() { aegis.Serve(aegis.Component{Name: "hello", Version: "1.0.0", ...}) }
//	func main() {}
//
// Go makes no components of the Component Model by itself. This is the other way in: a module that
// passes texts through its memory, built by
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o hello.wasm ./hello
//
// Its runtime wants WASI, so the operator grants `host.wasi`: a clock, chance, and nothing else.
package aegis

import (
	"encoding/json"
	"errors"
	"strconv"
	"unsafe"
)

// --- what a component says of itself, as the contract has it ------------------------------------

// Component is all that describe() gives, and the code behind it.
type Component struct {
	Name      string              `json:"name"`
	Version   string              `json:"version"`
	Doc       string              `json:"doc,omitempty"`
	Models    map[string]Model    `json:"models,omitempty"`
	Protocols map[string]Protocol `json:"protocols,omitempty"`
	Adapters  map[string]Part     `json:"adapters,omitempty"`
	Services  map[string]Part     `json:"services,omitempty"`
	Listeners map[string]Listener `json:"listeners,omitempty"`
	Emits     []string            `json:"emits,omitempty"`
	Exports   *Exports            `json:"exports,omitempty"`
	Grants    map[string][]string `json:"grants,omitempty"`
	HTTP      []string            `json:"http,omitempty"`
	Limits    *Limits             `json:"limits,omitempty"`
}

// Limits is what it needs at most: seconds of computing, bytes of memory and of an answer.
type Limits struct {
	Seconds float64 `json:"seconds,omitempty"`
	Memory  int     `json:"memory,omitempty"`
	Output  int     `json:"output,omitempty"`
	Fuel    int     `json:"fuel,omitempty"`
}

// Schema is a type, in the words of JSON Schema.
type Schema map[string]any

// Fields are types by name, in the order in which they shall be shown, and passed.
type Fields []field

type field struct {
	name   string
	schema Schema
}

// Field is one of Fields.
func Field(name string, schema Schema) field { return field{name, schema} }

// MarshalJSON writes an object in that order, which a map does not have.
func (fields Fields) MarshalJSON() ([]byte, error) {
	text := []byte{'{'}
	for n, one := range fields {
		if n > 0 {
			text = append(text, ',')
		}
		schema, err := json.Marshal(one.schema)
		if err != nil {
			return nil, err
		}
		text = append(strconv.AppendQuote(text, one.name), ':')
		text = append(text, schema...)
	}
	return append(text, '}'), nil
}

// Uses are the protocols of adapters, by the name that they are called by.
type Uses map[string]string

// Protocol is what an adapter does, methods by name.
type Protocol map[string]Method

// Method is what one takes by name, and what it gives.
type Method struct {
	Takes Fields `json:"takes,omitempty"`
	Gives Schema `json:"gives,omitempty"`
}

// Exports is what others may reach.
type Exports struct {
	Models []string `json:"models,omitempty"`
	Events []string `json:"events,omitempty"`
}

// Model is data with ports and commands.
type Model struct {
	Endpoint  string              `json:"endpoint,omitempty"`
	Doc       string              `json:"doc,omitempty"`
	Fields    Fields              `json:"fields"`
	Indexes   []string            `json:"indexes,omitempty"`
	Relations map[string]Relation `json:"relations,omitempty"`
	Ports     map[string]Port     `json:"ports,omitempty"`
	Commands  map[string]Command  `json:"commands,omitempty"`
}

// Relation leads to other records, by a field here (Via) or there (By).
type Relation struct {
	To   string `json:"to"`
	Via  string `json:"via,omitempty"`
	By   string `json:"by,omitempty"`
	Many bool   `json:"many,omitempty"`
}

// Attempts is how something is attempted, in seconds; what is left out the host decides.
type Attempts struct {
	Timeout float64 `json:"timeout,omitempty"`
	Retries *int    `json:"retries,omitempty"`
	Backoff float64 `json:"backoff,omitempty"`
}

// Port is a step that events set off.
type Port struct {
	Attempts
	Consumes  []string       `json:"consumes,omitempty"`
	Produces  string         `json:"produces,omitempty"`
	When      map[string]any `json:"when,omitempty"`
	By        string         `json:"by,omitempty"`
	Join      bool           `json:"join,omitempty"`
	Arguments Fields         `json:"arguments,omitempty"`
	Uses      Uses           `json:"uses,omitempty"`
	Undo      *Undo          `json:"undo,omitempty"`
	Answer    *Answer        `json:"answer,omitempty"`
	Run       Run            `json:"-"`
}

// Undo takes a port back.
type Undo struct {
	Attempts
	Uses Uses `json:"uses,omitempty"`
	Run  Run  `json:"-"`
}

// Answer takes the event that a port waits for.
type Answer struct {
	Events []string `json:"events"`
	Uses   Uses     `json:"uses,omitempty"`
	Run    Run      `json:"-"`
}

// Command is a change that the API offers.
type Command struct {
	Produces  string `json:"produces,omitempty"`
	Undo      bool   `json:"undo,omitempty"`
	Arguments Fields `json:"arguments,omitempty"`
	Uses      Uses   `json:"uses,omitempty"`
	Run       Run    `json:"-"`
}

// Part is an adapter or a service; Methods are those of all the protocols that it does.
type Part struct {
	Does    []string       `json:"does"`
	Uses    Uses           `json:"uses,omitempty"`
	Config  Fields         `json:"config,omitempty"`
	Methods map[string]Run `json:"-"`
}

// Listener hears events.
type Listener struct {
	Attempts
	On    []string `json:"on,omitempty"`
	Every float64  `json:"every,omitempty"`
	Cron  string   `json:"cron,omitempty"`
	Uses  Uses     `json:"uses,omitempty"`
	Run   Run      `json:"-"`
}

// --- what code gets and gives --------------------------------------------------------------------

// Run is code that the host calls. What it gives is Changed, Waiting, nil, or of an adapter's
// method whatever JSON can hold.
type Run func(call Call) (any, error)

// Call is what there is of a call.
type Call struct {
	Record    json.RawMessage `json:"record"`
	Event     Event           `json:"event"`
	Arguments json.RawMessage `json:"arguments"`
	Key       string          `json:"key"`
}

// Event is what was told.
type Event struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Subject string          `json:"subject"`
	Data    json.RawMessage `json:"data"`
}

// Text is a field of what was told. Its error says which one is missing.
func (event Event) Text(name string) (string, error) {
	data := map[string]any{}
	if err := json.Unmarshal(event.Data, &data); err != nil {
		return "", err
	}
	text, ok := data[name].(string)
	if !ok {
		return "", errors.New(event.Type + " says no " + name)
	}
	return text, nil
}

// Changed are the fields of a record that change.
type Changed map[string]any

// Waiting is given by a port whose partner answers later.
type Waiting struct {
	Events   []string `json:"events"`
	By       string   `json:"by,omitempty"`
	Deadline float64  `json:"deadline,omitempty"`
	Record   Changed  `json:"-"`
}

// Of is code that wants the record as a type of its own.
func Of[T any](run func(record T, call Call) (any, error)) Run {
	return func(call Call) (any, error) {
		var record T
		if err := json.Unmarshal(call.Record, &record); err != nil {
			return nil, err
		}
		return run(record, call)
	}
}

// Refused ends a step for good.
type Refused struct {
	Why  string `json:"refused"`
	Emit *Told  `json:"emit,omitempty"`
}

// Told is an event that is published although the step is refused.
type Told struct {
	Name    string `json:"name"`
	Subject string `json:"subject,omitempty"`
	Data    any    `json:"data,omitempty"`
}

func (refused Refused) Error() string {
	text, err := json.Marshal(refused)
	if err != nil {
		return refused.Why
	}
	return string(text)
}

// --- what the host offers ------------------------------------------------------------------------

// Level is how much a line of the log matters.
type Level uint32

// The levels of the host's log.
const (
	Debug Level = iota
	Info
	Warning
	Error
)

//go:wasmimport aegis:component/host@0.1.0 log
func hostLog(level uint32, message string)

//go:wasmimport aegis:component/host@0.1.0 config
func hostConfig(key string) uint64

//go:wasmimport aegis:component/host@0.1.0 emit
func hostEmit(name, subject, data string) uint64

//go:wasmimport aegis:component/host@0.1.0 call
func hostCall(target, input string) uint64

// Log writes to the host's log.
func Log(level Level, message string) { hostLog(uint32(level), message) }

// Config reads a configuration value of the adapter or service that is being called.
func Config(key string, value any) error { return answered(hostConfig(key), value) }

// Emit publishes an event when the unit of work under way is committed. Without a subject it is
// about the record under way.
func Emit(name, subject string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return answered(hostEmit(name, subject, string(text)), nil)
}

// Ask calls an adapter (`name.method`) or a relation (`name`, `name.create`). Its error may be
// given as it is: where a partner refused, it is a refusal.
func Ask(target string, input, answer any) error {
	text, err := json.Marshal(input)
	if err != nil {
		return err
	}
	return answered(hostCall(target, string(text)), answer)
}

// --- the two exports, and texts through memory ---------------------------------------------------

// In a packed text this bit says that it is an error; the address stands above the length.
const failed = 1 << 31

// The memory that the host has been given, by address: the collector must not have it meanwhile.
var kept = map[uint32][]byte{}

//go:wasmexport aegis_alloc
func alloc(size uint32) uint32 {
	memory := make([]byte, max(size, 1))
	address := uint32(uintptr(unsafe.Pointer(&memory[0])))
	kept[address] = memory
	return address
}

//go:wasmexport aegis_free
func free(address, _ uint32) { delete(kept, address) }

//go:wasmexport aegis_describe
func describe() uint64 {
	text, err := json.Marshal(served)
	return packed(string(text), err)
}

//go:wasmexport aegis_invoke
func invoke(name, nameSize, input, inputSize uint32) uint64 {
	return packed(run(taken(name, nameSize), taken(input, inputSize)))
}

// packed is a text that is kept until the host frees it.
func packed(text string, err error) uint64 {
	mark := uint64(0)
	if err != nil {
		text, mark = err.Error(), failed
	}
	address := alloc(uint32(len(text)))
	copy(kept[address], text)
	return uint64(address)<<32 | uint64(len(text)) | mark
}

// taken is the text that the host wrote into memory that it was given, and which is ours again.
func taken(address, size uint32) string {
	text := string(kept[address][:size])
	delete(kept, address)
	return text
}

// answered is what the host answered, decoded into `value` unless that is nil.
func answered(given uint64, value any) error {
	text := taken(uint32(given>>32), uint32(given)&^failed)
	if given&failed != 0 {
		return errors.New(text)
	}
	if value == nil || text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), value)
}

// --- who is called by which name -----------------------------------------------------------------

var (
	served Component
	runs   = map[string]Run{}
)

// Serve says which component this module is. Call it in init.
func Serve(component Component) {
	served = component
	for name, model := range component.Models {
		for one, port := range model.Ports {
			runs[name+"."+one] = port.Run
			if port.Undo != nil {
				runs[name+"."+one+".undo"] = port.Undo.Run
			}
			if port.Answer != nil {
				runs[name+"."+one+".answer"] = port.Answer.Run
			}
		}
		for one, command := range model.Commands {
			runs[name+"."+one] = command.Run
		}
	}
	for _, parts := range []map[string]Part{component.Adapters, component.Services} {
		for name, part := range parts {
			for method, run := range part.Methods {
				runs[name+"."+method] = run
			}
		}
	}
	for name, listener := range component.Listeners {
		runs[name] = listener.Run
	}
}

func run(name, input string) (string, error) {
	found := runs[name]
	if found == nil {
		return "", errors.New("there is no " + name + " in it")
	}
	var call Call
	if err := json.Unmarshal([]byte(input), &call); err != nil {
		return "", err
	}
	given, err := found(call)
	if err != nil || given == nil {
		return "", err
	}
	switch change := given.(type) {
	case Changed:
		given = map[string]any{"record": change}
	case Waiting:
		given = map[string]any{"wait": change, "record": change.Record}
	}
	text, err := json.Marshal(given)
	return string(text), err
}
