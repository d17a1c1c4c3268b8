# Adds numbers up by word, and says the sums when the text has ended: the script protocol in plain Ruby.
require "json"

reads = IO.for_fd(3, "rb")
writes = IO.for_fd(4, "wb")
writes.sync = true
receive = lambda do
  head = reads.read(4)
  JSON.parse(reads.read(head.unpack1("V")).force_encoding("UTF-8")) if head
end
send = lambda do |message|
  text = JSON.generate(message)
  writes.write([text.bytesize].pack("V"), text)
end

receive.call
send.call({ waterspout: 1, encoding: "Json" })
counts = Hash.new(0)
while (message = receive.call)
  case message[0]
  when "batch"
    message[4].each { |word, times| counts[word] += times }
    send.call(["done", message[1], []])
  when "finish"
    rows = counts.to_a
    send.call(["finished", [[0, rows.map { nil }, rows]]])
  when "tick" then send.call(["ticked", []])
  when "pause" then send.call(["paused", []])
  when "ping" then send.call(["pong", message[1]])
  # Counts go with their words when the task moves.
  when "snapshot" then send.call(["state", counts.map { |word, count| [[word], count] }])
  when "restore" then message[1].each { |(word), count| counts[word] += count }
  end
end
