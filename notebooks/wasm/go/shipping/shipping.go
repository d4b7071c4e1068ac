// Shipments: picked by the warehouse, taken by the carrier, tracked to the door, and proven.
//
// Each step asks a partner who answers later, with an event of his own. Partners know a shipment
// by its id, which they call the order's; the order hears what came of it in events that name it.
package main

import "samples/aegis"

// Shipment is what is sent for one order, as far as code reads it.
type Shipment struct {
	ID      string `json:"id"`
	OrderID string `json:"order_id"`
	Address string `json:"address"`
}

const week = 7 * 24 * 3600

var (
	text  = aegis.Schema{"type": "string"}
	maybe = aegis.Schema{"type": []string{"string", "null"}, "default": nil}
	order = aegis.Method{Takes: aegis.Fields{aegis.Field("order_id", text)}}
	twice = 2
)

func init() {
	aegis.Serve(aegis.Component{
		Name:    "shipping",
		Version: "1.0.0",
		Doc:     "Shipments: picked, shipped, tracked to the door, and proven.",
		Emits:   []string{"order.picked", "order.shipped", "order.delivered", "delivery.verified"},
		Exports: &aegis.Exports{
			Models: []string{"Shipment"},
			Events: []string{"shipment.*", "order.*", "delivery.*"},
		},
		Protocols: map[string]aegis.Protocol{
			"Warehouse": {"pick": order, "recall": order},
			"Carrier": {
				"ship": {Takes: aegis.Fields{
					aegis.Field("order_id", text),
					aegis.Field("address", text),
				}},
				"bring_back": order,
				"track":      order,
			},
			"Deliveries": {"proof": order, "collect": order},
		},
		Models: map[string]aegis.Model{"Shipment": {
			Endpoint: "shipments",
			Doc:      "What is sent for one order.",
			Fields: aegis.Fields{
				aegis.Field("order_id", aegis.Schema{"type": "string", "frozen": true}),
				aegis.Field("address", aegis.Schema{"type": "string", "default": ""}),
				aegis.Field("status", aegis.Schema{
					"enum":    []string{"NEW", "PICKED", "SHIPPING", "DELIVERED", "COMPLETE"},
					"default": "NEW",
				}),
				aegis.Field("pickup_address", maybe),
				aegis.Field("shipment", maybe),
				aegis.Field("tracking", maybe),
				aegis.Field("tracking_status", maybe),
				aegis.Field("proof", maybe),
			},
			Ports: map[string]aegis.Port{
				"pick_order": {
					Consumes: []string{"shipment.created"},
					Produces: "shipment.picked",
					Uses:     aegis.Uses{"warehouse": "Warehouse"},
					Run:      asks("warehouse.pick", "warehouse.picked", week),
					Answer:   &aegis.Answer{Events: []string{"warehouse.picked"}, Run: aegis.Of(picked)},
					Undo: &aegis.Undo{
						Uses: aegis.Uses{"warehouse": "Warehouse"},
						Run:  undoes("warehouse.recall", aegis.Changed{"pickup_address": nil, "status": "NEW"}),
					},
				},
				"ship_order": {
					Consumes: []string{"shipment.picked"},
					Produces: "shipment.shipped",
					Attempts: aegis.Attempts{Timeout: 2, Retries: &twice, Backoff: 1},
					Uses:     aegis.Uses{"carrier": "Carrier"},
					Run:      aegis.Of(ship),
					Answer:   &aegis.Answer{Events: []string{"carrier.shipped"}, Run: aegis.Of(shipped)},
					Undo: &aegis.Undo{
						Uses: aegis.Uses{"carrier": "Carrier"},
						Run:  undoes("carrier.bring_back", aegis.Changed{"shipment": nil, "status": "PICKED"}),
					},
				},
				"track_shipment": {
					Consumes: []string{"shipment.shipped"},
					Produces: "shipment.delivered",
					Uses:     aegis.Uses{"carrier": "Carrier"},
					Run:      asks("carrier.track", "carrier.tracked", week),
					Answer:   &aegis.Answer{Events: []string{"carrier.tracked"}, Run: aegis.Of(tracked)},
				},
				"verify_delivery": {
					Consumes: []string{"shipment.delivered"},
					Produces: "shipment.verified",
					Uses:     aegis.Uses{"deliveries": "Deliveries"},
					Run:      asks("deliveries.proof", "delivery.proven", week),
					Answer:   &aegis.Answer{Events: []string{"delivery.proven"}, Run: aegis.Of(proven)},
					Undo: &aegis.Undo{
						Uses: aegis.Uses{"deliveries": "Deliveries"},
						Run:  undoes("deliveries.collect", aegis.Changed{"proof": nil, "status": "DELIVERED"}),
					},
				},
			},
		}},
	})
}

func main() {}

// asks a partner for a shipment, and waits for what he will tell of it.
func asks(target, event string, deadline float64) aegis.Run {
	return aegis.Of(func(shipment Shipment, _ aegis.Call) (any, error) {
		return later(event, deadline), aegis.Ask(target, aegis.Changed{"order_id": shipment.ID}, nil)
	})
}

// undoes what a partner did for a shipment.
func undoes(target string, change aegis.Changed) aegis.Run {
	return aegis.Of(func(shipment Shipment, _ aegis.Call) (any, error) {
		return change, aegis.Ask(target, aegis.Changed{"order_id": shipment.ID}, nil)
	})
}

func later(event string, deadline float64) aegis.Waiting {
	return aegis.Waiting{Events: []string{event}, By: "order_id", Deadline: deadline}
}

func ship(shipment Shipment, _ aegis.Call) (any, error) {
	parcel := aegis.Changed{"order_id": shipment.ID, "address": shipment.Address}
	return later("carrier.shipped", 2), aegis.Ask("carrier.ship", parcel, nil)
}

func picked(shipment Shipment, call aegis.Call) (any, error) {
	address, err := call.Event.Text("address")
	if err != nil {
		return nil, err
	}
	return told("order.picked", shipment, aegis.Changed{"pickup_address": address}, "PICKED")
}

func shipped(shipment Shipment, call aegis.Call) (any, error) {
	id, err := call.Event.Text("shipment")
	if err != nil {
		return nil, err
	}
	return told("order.shipped", shipment, aegis.Changed{"shipment": id}, "SHIPPING")
}

func tracked(shipment Shipment, call aegis.Call) (any, error) {
	tracking, err := call.Event.Text("tracking")
	if err != nil {
		return nil, err
	}
	status, err := call.Event.Text("status")
	if err != nil {
		return nil, err
	}
	news := aegis.Changed{"tracking": tracking, "tracking_status": status}
	if status != "delivered" {
		wait := later("carrier.tracked", week)
		wait.Record = news
		return wait, nil
	}
	return told("order.delivered", shipment, news, "DELIVERED")
}

func proven(shipment Shipment, call aegis.Call) (any, error) {
	proof, err := call.Event.Text("proof")
	if err != nil {
		return nil, err
	}
	return told("delivery.verified", shipment, aegis.Changed{"proof": proof}, "COMPLETE")
}

// told the order what came of its shipment; what changes of the shipment.
func told(event string, shipment Shipment, news aegis.Changed, status string) (any, error) {
	data, change := aegis.Changed{"order_id": shipment.OrderID}, aegis.Changed{"status": status}
	for name, value := range news {
		data[name], change[name] = value, value
	}
	return change, aegis.Emit(event, shipment.OrderID, data)
}
