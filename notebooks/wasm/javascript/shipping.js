// Shipments: picked by the warehouse, taken by the carrier, tracked to the door, and proven.
//
// Each step asks a partner who answers later, with an event of his own. Partners know a shipment
// by its id, which they call the order's; the order hears what came of it in events that name it.

import { component, emit, said, waiting } from "./aegis.js";

const WEEK = 7 * 24 * 3600;
const text = { type: "string" };
const maybe = { type: ["string", "null"], default: null };
const order = { order_id: text };

const warehouse = { warehouse: "Warehouse" };
const carrier = { carrier: "Carrier" };
const deliveries = { deliveries: "Deliveries" };

/** Wait for what a partner will tell of this shipment. */
function later(event, deadline = WEEK, record = undefined) {
  return waiting(event, { by: "order_id", deadline, record });
}

/** Tell the order what came of its shipment. */
function tell(name, { order_id }, news) {
  emit(name, { order_id, ...news }, order_id);
}

export const { describe, invoke } = component({
  name: "shipping",
  version: "1.0.0",
  doc: "Shipments: picked, shipped, tracked to the door, and proven.",
  emits: ["order.picked", "order.shipped", "order.delivered", "delivery.verified"],
  exports: { models: ["Shipment"], events: ["shipment.*", "order.*", "delivery.*"] },
  protocols: {
    Warehouse: { pick: { takes: order }, recall: { takes: order } },
    Carrier: {
      ship: { takes: { ...order, address: text } },
      bring_back: { takes: order },
      track: { takes: order },
    },
    Deliveries: { proof: { takes: order }, collect: { takes: order } },
  },
  models: {
    Shipment: {
      endpoint: "shipments",
      doc: "What is sent for one order.",
      fields: {
        order_id: { ...text, frozen: true },
        address: { ...text, default: "" },
        status: {
          enum: ["NEW", "PICKED", "SHIPPING", "DELIVERED", "COMPLETE"],
          default: "NEW",
        },
        pickup_address: maybe,
        shipment: maybe,
        tracking: maybe,
        tracking_status: maybe,
        proof: maybe,
      },
      ports: {
        pick_order: {
          consumes: ["shipment.created"],
          produces: "shipment.picked",
          uses: warehouse,
          run({ record }, { warehouse }) {
            warehouse.pick({ order_id: record.id });
            return later("warehouse.picked");
          },
          answer: {
            events: ["warehouse.picked"],
            run({ record, event }) {
              const pickup_address = said(event, "address").address;
              tell("order.picked", record, { pickup_address });
              return { pickup_address, status: "PICKED" };
            },
          },
          undo: {
            uses: warehouse,
            run({ record }, { warehouse }) {
              warehouse.recall({ order_id: record.id });
              return { pickup_address: null, status: "NEW" };
            },
          },
        },
        ship_order: {
          consumes: ["shipment.picked"],
          produces: "shipment.shipped",
          timeout: 2,
          retries: 2,
          backoff: 1,
          uses: carrier,
          run({ record }, { carrier }) {
            carrier.ship({ order_id: record.id, address: record.address });
            return later("carrier.shipped", 2);
          },
          answer: {
            events: ["carrier.shipped"],
            run({ record, event }) {
              const { shipment } = said(event, "shipment");
              tell("order.shipped", record, { shipment });
              return { shipment, status: "SHIPPING" };
            },
          },
          undo: {
            uses: carrier,
            run({ record }, { carrier }) {
              carrier.bring_back({ order_id: record.id });
              return { shipment: null, status: "PICKED" };
            },
          },
        },
        track_shipment: {
          consumes: ["shipment.shipped"],
          produces: "shipment.delivered",
          uses: carrier,
          run({ record }, { carrier }) {
            carrier.track({ order_id: record.id });
            return later("carrier.tracked");
          },
          answer: {
            events: ["carrier.tracked"],
            run({ record, event }) {
              const { tracking, status } = said(event, "tracking", "status");
              const news = { tracking, tracking_status: status };
              if (status !== "delivered") return later("carrier.tracked", WEEK, news);
              tell("order.delivered", record, news);
              return { ...news, status: "DELIVERED" };
            },
          },
        },
        verify_delivery: {
          consumes: ["shipment.delivered"],
          produces: "shipment.verified",
          uses: deliveries,
          run({ record }, { deliveries }) {
            deliveries.proof({ order_id: record.id });
            return later("delivery.proven");
          },
          answer: {
            events: ["delivery.proven"],
            run({ record, event }) {
              const { proof } = said(event, "proof");
              tell("delivery.verified", record, { proof });
              return { proof, status: "COMPLETE" };
            },
          },
          undo: {
            uses: deliveries,
            run({ record }, { deliveries }) {
              deliveries.collect({ order_id: record.id });
              return { proof: null, status: "DELIVERED" };
            },
          },
        },
      },
    },
  },
});
