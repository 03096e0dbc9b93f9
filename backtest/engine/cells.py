"""Places in the state of a run, and the codes written into ledger rows.

The state is one int64 array `a`; `a[at.QTY]` is its quantity. The first nine places are the balances of
`schema.ACCOUNTS`, in that order.
"""

# Balances, in the order of schema.ACCOUNTS.
MARGIN, FREE, RESERVE, TRANSIT, WORLD, MARKET, FEES, FUNDING, INSURANCE = range(9)
# The position and what the venue says of it.
QTY, COST, SIDE, LEVERAGE, STEP, MIN_NOTIONAL, TABLE, TAKER, FEE_RESERVE = range(9, 18)
# Where the run is.
TIME, BAR, ENTRY_BAR, SEQUENCE, REASON, CAPITAL = range(18, 24)
# Counters of the outcome.
ENTRY_QTY, ENTRY_VALUE, SLIPPAGE, TURNOVER, ADDED, CLEARANCE, ACTIONS, REFUSED = range(24, 32)
# Liquidation.
BREACHED, BREACHES, FORCED_QTY, PARTIAL, FIRST_LIQ_TIME, FIRST_LIQ_MARK, FIRST_CAUSE, DEFICIT = range(32, 40)
# The stretch of constant state: least and largest mark seen (-1: none yet).
STRETCH_LOW, STRETCH_HIGH = range(40, 42)
# Notional-hours: opens summed since the last change of quantity, first bar not yet counted, two-word sums.
OPEN_SUM, COUNTED_TO, SUM_HIGH, SUM_LOW, PAIRED_HIGH, PAIRED_LOW, PAIRED_DONE = range(42, 49)
BASELINE_QTY, DAY, DAY_SENT, PAID_SINCE_TEST, BARS_VISITED = range(49, 54)
MIN_BUFFER, MAX_RATIO, QUEUE_HEAD, QUEUE_TAIL, EXIT_TIME, ENTRY_TIME, SEGMENT, SCRIPT_AT = range(54, 62)
# Bit masks over the wakes: called in this bar, remembered for the next open.
CALLED, PENDING = range(62, 64)
# Bars before this one have had the present quantity; the sum at the start of a path, in case the run ends on it.
COUNT_BOUND, BEFORE_PATH_HIGH, BEFORE_PATH_LOW, ON_PATH = range(64, 68)
# The bar at which a segment was entered, and what held just before: to name the cause of a breach at its open.
ENTERED_BAR, OLD_MARGIN, OLD_TABLE, OLD_FEE_RESERVE, FUNDED = range(68, 73)
# Bars at which the baseline was liquidated and ended (-1: never looked at).
BASELINE_LIQ_BAR, BASELINE_EXIT_BAR = range(73, 75)
# By rule: actions done, time of the last one (-1: none).
RULES_MAX = 8
ACTIONS_OF_RULE = 75
LAST_ACTION_OF_RULE = ACTIONS_OF_RULE + RULES_MAX
# By wake: when `every` is due next.
WAKES_MAX = 32
DUE_OF_WAKE = LAST_ACTION_OF_RULE + RULES_MAX
STATE_SIZE = DUE_OF_WAKE + WAKES_MAX

# Kinds of transfer, in the order of schema.TRANSFER_KINDS.
(
    K_DEPOSIT,
    K_POST,
    K_FEE,
    K_PROFIT,
    K_LOSS,
    K_FUNDING,
    K_RELEASE,
    K_PUT_BACK,
    K_ADD_MARGIN,
    K_REMOVE_MARGIN,
    K_SEND,
    K_RETURN,
    K_CLEARANCE,
    K_SHORTFALL,
    K_TAKEOVER,
) = range(15)
# Causes of a row, in the order of schema.CAUSES.
C_ENTRY, C_RULE, C_EXIT, C_LIQUIDATION, C_FUNDING, C_DATA_END, C_ARRIVAL = range(7)
