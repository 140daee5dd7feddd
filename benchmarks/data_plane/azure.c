#include "http.h"
void azure_answer(Request *request, Reply *reply) { (void)request; reply->status = 501; }
